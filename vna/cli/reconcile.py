"""``vna reconcile``: match with the RIS, review, decide, export and import decisions, and the steward's report."""

from __future__ import annotations

import getpass
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vna.cli.options import dry_run_option, json_option
from vna.cli.output import emit, progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vna.reconcile.decisions import Answer, DecisionFile
    from vna.reconcile.worklist import Worklist

_FILE = click.Path(path_type=Path, dir_okay=False)
_reviewer_option = click.option("--reviewer", metavar="NAME", default=getpass.getuser, help="Who decides; default: this login.")


@click.group()
def command() -> None:
    """Match studies with the RIS; rules decide, scores propose, people sign."""


@command.command()
@click.option("--ris", type=_FILE, required=True, help="The RIS list: CSV or Parquet whose columns are DICOM keywords.")
@click.option("--pacs", type=_FILE, help="The other side; default: the archive's index.")
@click.option(
    "--level",
    type=click.Choice(["patient", "exam"]),
    default="patient",
    show_default=True,
    help="Match patients, or studies with orders.",
)
@click.option("--out", type=_FILE, help="The decision file, CSV or Parquet by its ending; default: decisions-LEVEL.parquet.")
@click.option("--columns", type=_FILE, help='Renames columns, in TOML: "MRN" = "PatientID".')
@click.option("--merges", type=_FILE, help="Patient merges (A40): CSV with prior and surviving.")
@click.option("--rules", "rules_file", type=_FILE, help="The site's rules in TOML.")
@click.option("--encoding", default="", metavar="NAME", help="The encoding of CSV lists that are not UTF-8.")
@click.option(
    "--report", "report_to", type=click.Path(path_type=Path, file_okay=False), help="Write the steward's report into this folder."
)
@click.option("--accept-no-match", is_flag=True, help="Go on although next to nothing matches.")
@dry_run_option
@json_option
@click.pass_context
def match(
    ctx: click.Context,
    ris: Path,
    pacs: Path | None,
    level: str,
    out: Path | None,
    columns: Path | None,
    merges: Path | None,
    rules_file: Path | None,
    encoding: str,
    report_to: Path | None,
    accept_no_match: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Match the archive (or --pacs) with a RIS list and write the decision file."""
    from vna.reconcile.decisions import write_decisions
    from vna.reconcile.lists import load_column_map, read_list
    from vna.reconcile.merges import read_merge_file
    from vna.reconcile.rules import MatchLevel, load_rules
    from vna.reconcile.run import archive_list, result_of
    from vna.reconcile.run import match as match_lists

    started = time.monotonic()
    wanted, rules, names = MatchLevel(level), load_rules(rules_file), load_column_map(columns)
    right = read_list(ris, "ris", wanted, renames=names.of("ris"), encoding=encoding)
    if pacs is not None:
        left = read_list(pacs, "pacs", wanted, renames=names.of("pacs"), encoding=encoding)
    else:
        from vna.cli.session import configuration, open_archive

        left = archive_list(open_archive(configuration(ctx)).query, wanted)
    merged = read_merge_file(merges, rules.patient_ids)
    with progress("matching", quiet=as_json) as draw:
        found, decisions = match_lists(right, left, wanted, rules, merged, accept_no_match=accept_no_match, report=draw)
    path = out or Path(f"decisions-{level}.parquet")
    if not dry_run:
        write_decisions(decisions, path)
        if report_to is not None:
            from vna.reconcile.report import steward_report, write_report

            write_report(steward_report(decisions), report_to)
    notes = [f"{merged.ignored} merge(s) of an ID into itself were ignored"] if merged.ignored else []
    result = result_of(found, "" if dry_run else path, len(left.rows), started, notes)
    emit(result.as_json(), as_json=as_json, title=f"{level} level")
    return 3 if result.review or result.conflict else 0


@command.command()
@click.argument("file", type=_FILE)
@_reviewer_option
@click.option("--out", type=_FILE, help="The next revision; default: FILE with .rN before its ending.")
@json_option
def review(file: Path, reviewer: str, out: Path | None, as_json: bool) -> int:
    """Go through what waits for a person: a accept, r reject, n none, s skip, b back, u undo, q save, x leave, ? help."""
    from vna.reconcile.decisions import read_decisions
    from vna.reconcile.worklist import Worklist

    work = Worklist(read_decisions(file))
    while not work.is_done:
        _draw(work)
        key = _key()
        work.press(key if key else "q")
    answers = work.answers() if work.is_saved or not work.places else []
    return _save(work.file, file, out, answers, reviewer, as_json=as_json)


def _key() -> str:
    """Read one key from the terminal, or one character from a pipe; "" at its end."""
    if sys.stdin.isatty():
        return click.getchar().lower()
    while True:
        key = sys.stdin.read(1)
        if key not in ("\n", "\r", " "):
            return key.lower()


def _draw(work: Worklist) -> None:
    """Draw the pair side by side on stderr; what differs is marked by colour and by a sign."""
    row, err = work.row, True
    decided = len(work.given)
    click.echo("", err=err)
    click.secho(
        f"{work.position + 1} of {len(work.places)}   decided {decided}   {row['outcome']}   score {row['score']:.4f}   "
        f"{row['rule']}: {work.rule_text()}",
        bold=True,
        err=err,
    )
    width = max((len(line.pacs) for line in work.lines()), default=8)
    click.echo(f"    {'':26}{'PACS':<{width + 3}}RIS", err=err)
    for line in work.lines():
        text = f"  {'≠' if line.differs else ' '} {line.keyword:<26}{line.pacs:<{width + 3}}{line.ris}"
        click.secho(text, fg="red" if line.differs else None, err=err)
    click.echo(f"  {row['explanation']}", err=err)
    if work.message:
        click.echo(f"  {work.message}", err=err)
    click.echo("  [a]ccept [r]eject [n]one [s]kip [b]ack [u]ndo [q] save [?]", err=err)


def _save(file: DecisionFile, path: Path, out: Path | None, answers: Sequence[Answer], reviewer: str, *, as_json: bool) -> int:
    from vna.reconcile.decisions import decide

    if not answers:
        emit({"decided": 0, "waiting": len(file.waiting()), "decisions": str(path)}, as_json=as_json)
        return 3 if file.waiting() else 0
    return _write(decide(file, answers, reviewer), path, out, len(answers), as_json=as_json)


def _write(made: DecisionFile, path: Path, out: Path | None, decided: int, *, as_json: bool) -> int:
    from vna.reconcile.decisions import next_path, write_decisions

    target = out or next_path(path, made.revision)
    write_decisions(made, target)
    waiting = len(made.waiting())
    emit({"decided": decided, "waiting": waiting, "revision": made.revision, "decisions": str(target)}, as_json=as_json)
    return 3 if waiting else 0


@command.command(name="decide")
@click.argument("file", type=_FILE)
@click.option(
    "--accept", "accepted", multiple=True, nargs=2, metavar="PACS_KEY RIS_KEY", help="Accept this pair; may be repeated."
)
@click.option(
    "--reject", "rejected", multiple=True, nargs=2, metavar="PACS_KEY RIS_KEY", help="Reject this pair; may be repeated."
)
@click.option("--reason", default="", help="Why.")
@_reviewer_option
@click.option("--out", type=_FILE, help="The next revision; default: FILE with .rN before its ending.")
@json_option
def decide_command(
    file: Path,
    accepted: tuple[tuple[str, str], ...],
    rejected: tuple[tuple[str, str], ...],
    reason: str,
    reviewer: str,
    out: Path | None,
    as_json: bool,
) -> int:
    """Decide single pairs; the file is superseded by its next revision, not changed."""
    from vna.reconcile.decisions import Answer, read_decisions

    answers = [Answer(a, b, "accept", reason) for a, b in accepted]
    answers += [Answer(a, b, "reject", reason) for a, b in rejected]
    return _save(read_decisions(file), file, out, answers, reviewer, as_json=as_json)


@command.command()
@click.argument("file", type=_FILE)
@click.option("--to", type=_FILE, required=True, help="Where to write it: .csv for spreadsheets, or .parquet.")
@click.option("--waiting", is_flag=True, help="Only what waits for a person.")
@json_option
def export(file: Path, to: Path, waiting: bool, as_json: bool) -> None:
    """Write a copy for people to edit: they fill in `decision` (accept or reject) and `reason`."""
    from vna.reconcile.decisions import DecisionFile, read_decisions, write_decisions

    decisions = read_decisions(file)
    rows = [decisions.rows[place] for place in decisions.waiting()] if waiting else decisions.rows
    write_decisions(DecisionFile(rows), to)
    emit({"rows": len(rows), "to": str(to)}, as_json=as_json)


@command.command(name="import")
@click.argument("edited", type=_FILE)
@click.option("--onto", type=_FILE, required=True, help="The decision file that was exported.")
@_reviewer_option
@click.option("--out", type=_FILE, help="The next revision; default: the file with .rN before its ending.")
@json_option
def import_command(edited: Path, onto: Path, reviewer: str, out: Path | None, as_json: bool) -> int:
    """Take over the answers of an edited copy; anything else that was changed in it is refused."""
    from vna.reconcile.decisions import import_edits, read_decisions

    before = read_decisions(onto)
    made = import_edits(before, read_decisions(edited), reviewer)
    changed = sum(a["decision"] != b["decision"] for a, b in zip(before.rows, made.rows, strict=True))
    return _write(made, onto, out, changed, as_json=as_json)


@command.command()
@click.argument("file", type=_FILE)
@click.option(
    "--to", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder for report.html and the tables."
)
@click.option(
    "--sample", type=click.IntRange(1), default=300, show_default=True, help="How many automatic pairs to draw for signing."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same sample.")
@json_option
def report(file: Path, to: Path, sample: int, seed: int, as_json: bool) -> None:
    """Write the steward's report: rates, suspects, proposed changes, and the sample to sign with the bound that it buys."""
    from vna.reconcile.decisions import read_decisions
    from vna.reconcile.report import steward_report, write_report

    made = steward_report(read_decisions(file), sample=sample, seed=seed)
    page = write_report(made, to)
    emit({"report": str(page), "sample": len(made.tables["sample"]), "bound": round(made.bound, 6)}, as_json=as_json)
