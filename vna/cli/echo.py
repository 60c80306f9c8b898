"""``vna echo``: check every node, with a hint for each failure."""

from __future__ import annotations

import click

from vna.cli.options import json_option
from vna.cli.output import emit
from vna.cli.session import configuration
from vna.errors import ConfigError, PeerError, VnaError
from vna.model import Local, Node


@click.command("echo")
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@json_option
@click.pass_context
def command(ctx: click.Context, nodes: tuple[str, ...], as_json: bool) -> int:
    """Send a C-ECHO to every node (or to those named) and say what is wrong with the ones that fail."""
    config = configuration(ctx)
    if not config.nodes:
        raise ConfigError("no node is configured", hint=f"describe one in {config.path}: [nodes.legacy] ...")
    chosen = [config.node(name) for name in nodes] or list(config.nodes.values())
    results = [_check(node, config.local) for node in chosen]
    failed = [result for result in results if not result["ok"]]
    if as_json:
        emit({"nodes": results, "failed": len(failed)}, as_json=True)
    else:
        for result in results:
            click.echo(_line(result))
    return PeerError.exit_code if failed else 0


def _check(node: Node, local: Local) -> dict[str, object]:
    result: dict[str, object] = {"node": node.name, "ae_title": node.ae_title, "host": node.host, "port": node.port, "ok": False}
    if node.kind != "dimse":
        return result | {"ok": True, "skipped": f"a {node.kind} node takes no C-ECHO"}
    from vna.dimse.echo import echo

    try:
        seconds = echo(node, local)
    except VnaError as exc:
        return result | {"error": str(exc), "hint": exc.hint}
    return result | {"ok": True, "seconds": round(seconds, 4)}


def _line(result: dict[str, object]) -> str:
    where = f"{result['node']}: {result['ae_title']} at {result['host']}:{result['port']}"
    if "skipped" in result:
        return f"  -    {result['node']}: {result['skipped']}"
    if result["ok"]:
        return f"  ok   {where} in {1000 * float(str(result['seconds'])):.0f} ms"
    return f"  FAIL {where}\n       {result['error']}\n       hint: {result['hint']}"
