"""``vna query``: what the archive holds, asked as C-FIND and QIDO-RS ask."""

from __future__ import annotations

import json
import sys

import click

from vna.cli.options import json_option
from vna.cli.output import emit, table
from vna.cli.session import configuration, open_archive

_SHOWN = 1_000
_LEVELS = {"patient": "PATIENT", "study": "STUDY", "series": "SERIES", "image": "IMAGE", "instance": "IMAGE"}


@click.command("query")
@click.option(
    "--level", type=click.Choice(list(_LEVELS)), default="study", show_default=True, help="What one line of the answer describes."
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEYWORD[=VALUE]",
    help="An attribute to match and show; may be repeated. Without a value it is only shown.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help=f"At most N answers. [default: all; on a terminal {_SHOWN:,}]")
@click.option("--offset", type=click.IntRange(0), default=0, metavar="N", help="Leave out the first N answers.")
@click.option("--count", "counting", is_flag=True, help="Only tell how many answers there are.")
@click.option("--combined", is_flag=True, help="Take a range of dates and one of times as a single range.")
@click.option("--hierarchical", is_flag=True, help="Refuse keys that a C-FIND without extended negotiation could not use.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    level: str,
    keys: tuple[str, ...],
    limit: int | None,
    offset: int,
    counting: bool,
    combined: bool,
    hierarchical: bool,
    as_json: bool,
) -> None:
    """Ask what the archive holds, by keys as in C-FIND: wildcards, ranges, lists of values with backslashes between them.

    Example: vna query --key PatientName='MUELLER^*' --key StudyDate=20240101-20241231

    Names match whatever their case and accents. Corrections count; objects in quarantine do not.
    """
    from vna.query import Level, ask, count, question

    asked: dict[str, list[str]] = {}
    for key in keys:
        keyword, _, value = key.partition("=")
        asked.setdefault(keyword, []).append(value)
    is_cut = limit is None and not as_json and not counting and sys.stdout.isatty()
    if is_cut:
        limit = _SHOWN
    made = question(Level(_LEVELS[level]), asked, limit=limit, offset=offset, combined=combined, hierarchical=hierarchical)
    with open_archive(configuration(ctx)).catalogue() as catalogue:
        total = count(catalogue, made)
        answers = [] if counting else ask(catalogue, made)
    if counting:
        emit({"level": made.level.value, "count": total}, as_json=as_json)
    elif as_json:
        page = {"level": made.level.value, "count": total, "limit": limit, "offset": offset}
        click.echo(json.dumps({**page, "answers": answers}, ensure_ascii=False))
    else:
        columns = shown(answers)
        table([{keyword: value for keyword, value in answer.items() if keyword in columns} for answer in answers])
        click.echo(f"{len(answers):,} of {total:,}")
        if is_cut and len(answers) == _SHOWN < total - offset:
            click.echo(f"A terminal is shown {_SHOWN:,} answers: --limit gives more of them, --offset the next ones.")


def shown(answers: list[dict[str, object]]) -> set[str]:
    """Name the attributes that have a value in some answer: a table has no room for the others."""
    return {keyword for answer in answers for keyword, value in answer.items() if value is not None}
