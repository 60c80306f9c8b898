"""The command line: one file a command, imported only when that command runs.

A command body parses, builds the adapters, calls one function of a stage and renders its result. Nothing below this package
prints, configures logging or ends the process.
"""

from __future__ import annotations

import gc
import importlib
import logging
import sys
import warnings
from collections.abc import Sequence

import click

from vna import __version__
from vna.errors import VnaError

COMMANDS = {
    "demo": "The whole pipeline on loopback with real test images, then the report.",
    "init": "Create an archive and a commented vna.toml.",
    "echo": "Check every node, with a hint for each failure.",
    "inventory": "Ask a source what it holds, and record it in the ledger.",
    "pull": "Retrieve what the inventory lists and the archive does not hold yet.",
    "ingest": "Take a tree of DICOM files into the archive.",
    "receive": "Run a Storage SCP that files what it is sent.",
    "index": "Build, rebuild, optimise, inspect and query the index.",
    "query": "Ask what the archive holds, by keys as in C-FIND.",
    "validate": "Check every stored instance and list the findings.",
    "correct": "Correct headers as data that can be taken back.",
    "forward": "Send what is due to a target.",
    "verify": "Prove that a target holds what was forwarded, and write the certificate.",
    "scrub": "Read every object again, compare digests, repair from a good copy.",
    "export": "Copy instances out as Part 10 files.",
    "reconcile": "Match studies with the RIS: rules decide, scores propose, people sign.",
    "deid": "Write a de-identified cohort for research, reproducible byte for byte.",
    "status": "Show where every instance stands, and whether the ledger closes.",
}
"""Name -> one-line help, in the order of a migration. The module of a command is ``vna.cli.<name>``."""

EXIT_CODES = """\b
Exit codes:
  0    done
  1    failed
  2    usage or configuration
  3    done, but some studies failed or wait for a person
  10   a peer could not be reached, or did not do what was asked
  11   another run holds this work
  20   the store could not do what it promises
  21   a guard refused; the message names the way out
  130  interrupted
"""

_COLLECT_AFTER = 20_000
"""So many new objects make the collector of cycles look at them: with Python's own 700 it is busy with what an import makes."""


class LazyGroup(click.Group):
    """A group that imports a command's module when it runs, so that ``vna --help`` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every command, in the order of a migration."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and give its command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"vna.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is answered with the nearest known name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", metavar="FILE", help="The configuration; default: $VNA_CONFIG, else vna.toml in this folder.")
@click.option("-v", "--verbose", count=True, help="Log to stderr: -v a line a study, -vv a line an instance. Never PHI.")
@click.version_option(__version__, prog_name="vna")
@click.pass_context
def vna(ctx: click.Context, config: str | None, verbose: int) -> None:
    """Move a hospital's images from its old PACS to its new one, and prove that every one arrived."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_quotes_no_values)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[handler])
    warnings.simplefilter("ignore")
    ctx.obj = config


def _quotes_no_values(record: logging.LogRecord) -> bool:
    """Keep out the messages of libraries that quote values, which may be a patient's, or a signature."""
    return record.name.partition(".")[0] not in ("pydicom", "pynetdicom", "botocore")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with the exit code that the outcome calls for."""
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
    code = run(args)
    if "duckdb" not in sys.modules:  # which at its end complains at length of what was not collected
        gc.freeze()  # the process ends: nobody need look once more for cycles in all that was imported
    sys.exit(code)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code; errors become one line with the way out, on stderr."""
    try:
        result = vna.main(args=list(args) if args is not None else None, prog_name="vna", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as exc:
        exc.show()
        return 2 if isinstance(exc, click.UsageError) else exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what was acknowledged is durable, and the same command goes on where this one stopped", err=True)
        return 130
    except BrokenPipeError:
        return 1
    except VnaError as exc:
        _show(exc)
        return exc.exit_code
    except Exception as exc:  # the last boundary: an unforeseen error must still end in words and a code
        logging.getLogger(__name__).debug("unforeseen error", exc_info=True)
        click.echo(f"error: {type(exc).__name__} at {_where(exc)} (this is a defect; `vna -vv ...` logs the details)", err=True)
        return 1


def _show(exc: VnaError) -> None:
    problems = getattr(exc, "problems", None) or (str(exc),)
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    if exc.hint:
        click.echo(f"hint: {exc.hint}", err=True)


def _where(exc: BaseException) -> str:
    """Name the innermost line of our own code; an unforeseen message may quote a patient's data, so it is not shown."""
    import traceback

    frames = traceback.extract_tb(exc.__traceback__)
    return f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "an unknown place"
