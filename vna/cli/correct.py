"""``vna correct``: correct headers as data that can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from vna.cli.options import dry_run_option, json_option, limit_option, study_option, where_option
from vna.cli.output import emit, progress, some_failed
from vna.cli.session import configuration, open_archive
from vna.errors import ConfigError

_F = TypeVar("_F", bound=Callable[..., Any])


def _rule_options(function: _F) -> _F:
    for option in (
        click.option(
            "--reason", type=click.Choice(["CORRECT", "COERCE"]), default="CORRECT", show_default=True, help="For --set."
        ),
        click.option("--from", "source", default="", metavar="TEXT", help="Source of Previous Values, for --set."),
        click.option(
            "--threshold", type=click.FloatRange(0, 1), default=0.2, show_default=True, help="Largest share of studies."
        ),
        click.option(
            "--uids",
            type=click.Choice(["refuse", "new", "merge"]),
            default="refuse",
            show_default=True,
            help="What may become of UIDs.",
        ),
        click.option("--text-is", "fallback", default="", metavar="TERM", help="Character set of text that is not in its own."),
        limit_option,
        where_option,
        study_option,
        click.option(
            "--rules",
            "rules_file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Rules, TOML.",
        ),
        click.option(
            "--decisions",
            "decisions_file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Accepted pairs of `vna reconcile`.",
        ),
        click.option("--set", "settings", multiple=True, metavar="KEYWORD=VALUE", help="A new value; may be repeated."),
    ):
        function = option(function)
    return function


@click.group("correct")
def command() -> None:
    """Correct headers as data that can be taken back; what lies in the store stays as received."""


@command.command("plan")
@_rule_options
@json_option
@click.pass_context
def plan(ctx: click.Context, /, as_json: bool, **given: Any) -> int:
    """Show what would change, on how many studies and instances. Changes nothing."""
    from vna.correct import plan

    archive = open_archive(configuration(ctx))
    with progress("plan", quiet=as_json) as report:
        result = plan(archive, _rules(given), _options(given), report)
    emit(result.as_json(), as_json=as_json, title="would correct")
    return some_failed(result.refused)


@command.command("apply")
@_rule_options
@dry_run_option
@json_option
@click.pass_context
def apply(ctx: click.Context, /, as_json: bool, dry_run: bool, **given: Any) -> int:
    """Write revisions: from now on everything that leaves, leaves corrected, and is due to be forwarded and verified again."""
    from vna.correct import apply, plan

    archive = open_archive(configuration(ctx))
    with progress("correct", quiet=as_json) as report:
        result = (plan if dry_run else apply)(archive, _rules(given), _options(given), report)
    emit(result.as_json(), as_json=as_json, title="would correct" if dry_run else "corrected")
    if not as_json and not result.changes:
        click.echo("nothing to do: every selected instance says so already")
    return some_failed(result.refused)


@command.command("revert")
@click.option("--revision", "number", type=click.IntRange(1), metavar="N", help="Only the revision of that number; default: all.")
@study_option
@where_option
@dry_run_option
@json_option
@click.pass_context
def revert(
    ctx: click.Context, number: int | None, studies: tuple[str, ...], where: str | None, dry_run: bool, as_json: bool
) -> None:
    """Take revisions back: what leaves afterwards is as it was received, byte for byte."""
    from vna.correct import CorrectOptions, revert

    archive = open_archive(configuration(ctx))
    with progress("revert", quiet=as_json) as report:
        options = CorrectOptions(where=where, studies=studies)
        result = revert(archive, options, number=number, dry_run=dry_run, report=report)
    emit(result.as_json(), as_json=as_json, title="would revert" if dry_run else "reverted")


@command.command("variants")
@click.option(
    "--policy",
    type=click.Choice(["keep-first", "new-uid", "prefer-variant"]),
    default="keep-first",
    show_default=True,
    help="Which of several objects under one UID goes on.",
)
@study_option
@where_option
@dry_run_option
@json_option
@click.pass_context
def variants(ctx: click.Context, policy: str, studies: tuple[str, ...], where: str | None, dry_run: bool, as_json: bool) -> None:
    """Decide about different objects that share a SOP Instance UID. Nothing is overwritten, and a decision can be taken back."""
    from vna.correct import CorrectOptions, VariantPolicy, decide_variants

    archive = open_archive(configuration(ctx))
    with progress("variants", quiet=as_json) as report:
        options = CorrectOptions(where=where, studies=studies)
        result = decide_variants(archive, VariantPolicy(policy), options, dry_run=dry_run, report=report)
    emit(result.as_json(), as_json=as_json, title="would decide" if dry_run else "decided")


@command.command("materialise")
@study_option
@where_option
@dry_run_option
@json_option
@click.pass_context
def materialise(ctx: click.Context, studies: tuple[str, ...], where: str | None, dry_run: bool, as_json: bool) -> int:
    """Write corrected files beside the originals, as <SOPInstanceUID>.r<N>.dcm."""
    from vna.correct import CorrectOptions, materialise

    archive = open_archive(configuration(ctx))
    with progress("materialise", quiet=as_json) as report:
        result = materialise(archive, CorrectOptions(where=where, studies=studies), dry_run=dry_run, report=report)
    emit(result.as_json(), as_json=as_json, title="would write" if dry_run else "written")
    return some_failed(result.refused)


def _rules(given: dict[str, Any]) -> list[Any]:
    from vna.correct import load_rules, rule_of_settings

    rules = list(load_rules(given["rules_file"])) if given["rules_file"] else []
    if given["decisions_file"]:
        rules.append(_decided(given["decisions_file"]))
    if given["settings"]:
        rules.append(rule_of_settings(given["settings"], reason=given["reason"], source=given["source"]))
    if not rules:
        raise ConfigError("nothing to correct is named", hint="--set KEYWORD=VALUE, --rules FILE or --decisions FILE")
    return rules


def _decided(path: Path) -> Any:
    """Read the accepted pairs of a decision file as a rule; say which studies it is silent about, and why."""
    from vna.correct import Decided, rule_of_decisions
    from vna.reconcile.decisions import proposals, read_decisions

    pairs = (
        Decided(
            str(row["pacs_StudyInstanceUID"] or row["pacs_key"]),
            {keyword: new for keyword, (_, new) in proposals(row).items()},
            str(row["ris_AccessionNumber"] or "") if row["level"] == "exam" else "",
        )
        for row in read_decisions(path).accepted()
    )
    rule, refusals = rule_of_decisions(pairs)
    for refusal in refusals:
        click.echo(f"left out: study {refusal.key}: {refusal.code}: {refusal.detail}", err=True)
    return rule


def _options(given: dict[str, Any]) -> Any:
    from vna.correct import CorrectOptions, UidPolicy

    return CorrectOptions(
        where=given["where"],
        studies=given["studies"],
        limit=given["limit"],
        threshold=given["threshold"],
        fallback_character_set=given["fallback"],
        uids=UidPolicy(given["uids"]),
    )
