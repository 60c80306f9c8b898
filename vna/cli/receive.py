"""``vna receive``: run a Storage SCP that files what it is sent."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from vna.cli.options import json_option
from vna.cli.output import owed_text
from vna.cli.session import configuration, open_archive
from vna.config import SPOOLED

_PROMISES = {
    "stored": "it is stored in the archive",
    "spooled": "it is on this machine's disk; its upload is owed",
}


@click.command("receive")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen here instead of [local] port; 0 picks a free one.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    metavar="N",
    help="Accepting processes, each with its part of the limits; default: the cores.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, port: int | None, workers: int, as_json: bool) -> None:
    """Accept C-STORE and C-ECHO at [local], and file every object in the archive, until stopped.

    An object is acknowledged when it is stored: it and its journal row are on disk, or confirmed in the bucket. Where [archive]
    says acknowledge = "spooled", an archive on S3 is owed the upload of what is on the local disk. SIGTERM or Ctrl-C drains:
    nothing new is accepted, what is under way is finished. With --json, one JSON object a line tells what happens.
    """
    from vna.receive import ReceiveOptions, ReceiveService

    config = configuration(ctx)
    sources = {node.ae_title: node.name for node in config.nodes.values() if node.ae_title}
    counts: Counter[str] = Counter()

    def tell(event: Mapping[str, Any]) -> None:
        if event["event"] == "objects":
            counts.update(event["states"])
        elif event["event"] != "owed":  # the state of objects, of which this one is the sum
            counts[str(event["event"])] += 1
        if as_json:
            click.echo(json.dumps(event))
        elif event["event"] == "listening":
            click.echo(f"listening as {event['ae_title']} on {event['host']}:{event['port']}; Ctrl-C stops")
            click.echo(f"an object is acknowledged when {_PROMISES[event['acknowledges']]}")
        elif event["event"] in ("uploads_held_up", "owed"):
            click.echo(f"{event['event']}: {owed_text(event)}{'; ' if 'reason' in event else ''}{event.get('reason', '')}")
        elif event["event"] in ("uploads_caught_up", "owed_damaged"):
            click.echo(f"{event['event']}: {event.get('sop_instance_uid', 'nothing is owed any more')}")
        elif event["event"] in ("association", "rejected", "refused", "worker_ended"):
            click.echo(
                f"{event['event']}: {event.get('calling_ae_title', '')}@{event.get('peer_address', '')} {event.get('code', '')}"
            )

    def relay(lines: bytes) -> None:
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()

    owes = config.archive.acknowledge == SPOOLED
    options = ReceiveOptions(port=port, workers=workers, all_objects=as_json, owes=owes)
    service = ReceiveService(open_archive(config), config.local, sources, options, tell, relay)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    signal.signal(signal.SIGUSR1, lambda *_: service.commit_now())
    service.run()
    if not as_json:
        click.echo(f"stopped: {', '.join(f'{name} {count:,}' for name, count in sorted(counts.items()))}")
