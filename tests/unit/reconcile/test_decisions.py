"""Decisions are kept, superseded and never edited; the report can be signed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.populations import riverside
from vna.cli.reconcile import command
from vna.errors import ConfigError, RefusedError
from vna.reconcile.decisions import (
    Answer,
    decide,
    import_edits,
    plain_cell,
    proposals,
    read_decisions,
    safe_cell,
    write_decisions,
)
from vna.reconcile.report import upper_bound
from vna.reconcile.worklist import Worklist


def lists(folder: Path) -> tuple[Path, Path]:
    people = riverside(400, 380, seed=8)
    people.pacs[0]["PatientName"] = "=HYPERLINK^EVIL"
    for side, rows in (("pacs", people.pacs), ("ris", people.ris)):
        with (folder / f"{side}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder / "pacs.csv", folder / "ris.csv"


@pytest.fixture
def matched(tmp_path: Path) -> Path:
    pacs, ris = lists(tmp_path)
    out = tmp_path / "d.csv"
    done = CliRunner().invoke(
        command, ["match", "--ris", str(ris), "--pacs", str(pacs), "--out", str(out), "--json"], standalone_mode=False
    )
    counts = json.loads(done.stdout)
    assert done.return_value == 3
    assert {"studies", "auto", "review", "conflict", "orphan", "junk", "decisions"} <= set(counts)
    assert counts["studies"] == counts["auto"] + counts["review"] + counts["conflict"] + counts["orphan"] + counts["junk"]
    return out


def test_a_cell_that_a_spreadsheet_would_run_is_written_as_text(matched: Path) -> None:
    text = matched.read_text("utf-8-sig")
    assert "'=HYPERLINK^EVIL" in text
    assert ",=HYPERLINK" not in text
    assert any(row["pacs_PatientName"] == "=HYPERLINK^EVIL" for row in read_decisions(matched).rows)
    for value in ("=1+1", "+49 1", "-x", "@a", "'q", "-1.5", "plain"):
        assert plain_cell(safe_cell(value)) == value
        assert safe_cell(value) == value or safe_cell(value).startswith("'")


def test_parquet_and_csv_hold_the_same_decisions(matched: Path, tmp_path: Path) -> None:
    file = read_decisions(matched)
    write_decisions(file, tmp_path / "d.parquet")
    assert read_decisions(tmp_path / "d.parquet").rows == file.rows


def test_keys_drive_the_work_list_and_undo_takes_back(matched: Path) -> None:
    done = CliRunner().invoke(
        command, ["review", str(matched), "--reviewer", "Ada", "--json"], input="a?urbasq", standalone_mode=False
    )
    made = read_decisions(matched.with_name("d.r2.csv"))
    assert json.loads(done.stdout)["revision"] == 2
    assert "≠" in done.stderr
    assert {row["reviewer"] for row in made.rows if row["decision"]} == {"Ada"}
    assert made.rows[0]["supersedes"] == read_decisions(matched).digest
    assert not read_decisions(matched).is_decided


def test_undo_restores_the_pair_and_leaving_saves_nothing(matched: Path) -> None:
    work = Worklist(read_decisions(matched))
    before = (work.position, dict(work.given))
    work.press("n")
    assert work.given
    work.press("u")
    assert (work.position, work.given) == before
    work.press("u")
    assert work.message == "nothing to undo"
    work.press("x")
    assert work.is_done
    assert not work.is_saved


def test_accepting_one_candidate_rejects_the_others(matched: Path) -> None:
    work = Worklist(read_decisions(matched))
    key = next(
        work.file.rows[p]["pacs_key"]
        for p in work.places
        if sum(work.file.rows[q]["pacs_key"] == work.file.rows[p]["pacs_key"] for q in work.places) > 1
    )
    work.position = next(i for i, p in enumerate(work.places) if work.file.rows[p]["pacs_key"] == key)
    work.press("a")
    said = sorted(answer.decision for answer in work.answers() if answer.pacs_key == key)
    assert said.count("accept") == 1
    assert len(said) > 1
    made = decide(work.file, work.answers(), "Ada")
    assert sum(row["pacs_key"] == key for row in made.accepted()) == 1


def test_an_edited_copy_comes_back_and_tampering_is_refused(matched: Path, tmp_path: Path) -> None:
    runner, copy = CliRunner(), tmp_path / "copy.csv"
    runner.invoke(
        command, ["export", str(matched), "--to", str(copy), "--waiting"], standalone_mode=False, catch_exceptions=False
    )
    rows = list(csv.DictReader(copy.open(encoding="utf-8-sig", newline="")))
    rows[0]["decision"] = "Accept"
    _rewrite(copy, rows)
    runner.invoke(
        command, ["import", str(copy), "--onto", str(matched), "--reviewer", "Ada"], standalone_mode=False, catch_exceptions=False
    )
    assert sum(row["decision"] == "accept" for row in read_decisions(matched.with_name("d.r2.csv")).rows) == 1
    rows[0]["ris_PatientName"] = "Somebody^Else"
    _rewrite(copy, rows)
    with pytest.raises(RefusedError, match="ris_PatientName changed"):
        import_edits(read_decisions(matched), read_decisions(copy), "Ada")


def _rewrite(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_answers_that_cannot_be_given_are_listed(matched: Path) -> None:
    with pytest.raises(ConfigError, match="no such pair"):
        decide(read_decisions(matched), [Answer("nobody", "r1", "accept")], "Ada")
    with pytest.raises(ConfigError, match="name of the person"):
        decide(read_decisions(matched), [], " ")


def test_a_file_with_answers_is_never_written_over(matched: Path) -> None:
    file = read_decisions(matched)
    row = file.rows[file.waiting()[0]]
    write_decisions(decide(file, [Answer(row["pacs_key"], row["ris_key"], "reject")], "Ada"), matched)
    with pytest.raises(RefusedError, match="decisions that people made"):
        write_decisions(file, matched)


def test_proposals_are_the_values_that_differ(matched: Path) -> None:
    row = next(r for r in read_decisions(matched).accepted() if r["pacs_PatientName"] != r["ris_PatientName"])
    assert proposals(row)["PatientName"] == (row["pacs_PatientName"], row["ris_PatientName"])


def test_the_report_counts_samples_and_bounds(matched: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        command, ["report", str(matched), "--to", str(tmp_path / "rep"), "--json"], standalone_mode=False, catch_exceptions=False
    )
    said = json.loads(done.stdout)
    page = (tmp_path / "rep" / "report.html").read_text("utf-8")
    assert f"{said['bound']:.2%}" in page
    assert "<script" not in page
    names = {path.name for path in (tmp_path / "rep").iterdir()}
    assert {
        "outcomes.csv",
        "outcomes.parquet",
        "rules.csv",
        "overlays.csv",
        "duplicates.csv",
        "sample.csv",
        "changes.csv",
    } <= names


def test_the_bound_is_exact() -> None:
    assert upper_bound(300) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert upper_bound(300) < 0.01
    assert upper_bound(0) == 1.0
    assert upper_bound(100, 1) == pytest.approx(0.0466, abs=1e-3)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    pacs, ris = lists(tmp_path)
    done = CliRunner().invoke(
        command,
        ["match", "--ris", str(ris), "--pacs", str(pacs), "--out", str(tmp_path / "d.csv"), "--dry-run", "--json"],
        standalone_mode=False,
    )
    assert json.loads(done.stdout)["decisions"] == ""
    assert not (tmp_path / "d.csv").exists()
