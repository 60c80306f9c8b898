"""Patient matching side by side: exact patient ID, plain splink, and ours, on one population with known truth.

Each system runs in a process of its own, so that peak memory is its own. Run as ``python -m benchmarks.match [--json] [--pacs N]
[--ris N] [--population riverside|harbour] [--no-ids]``. ``wrong`` are automatic pairs that are not true; ``recall`` counts automatic
pairs and those proposed to a person.
"""

# ruff: noqa: E501, RUF005 - wide rows of results
from __future__ import annotations

import argparse
import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Pair = tuple[str, str]
SYSTEMS = ("exact patient ID", "splink", "vna")


def exact_id(people: Any) -> tuple[set[Pair], set[Pair]]:
    """Match where patient IDs are equal, leading zeros aside: what most migrations do."""
    behind: dict[str, list[str]] = {}
    for row in people.ris:
        if row["PatientID"]:
            behind.setdefault(row["PatientID"].lstrip("0"), []).append(row["key"])
    return {(row["key"], ris) for row in people.pacs for ris in behind.get(row["PatientID"].lstrip("0"), ())}, set()


def plain_splink(people: Any) -> tuple[set[Pair], set[Pair]]:
    """Match with splink 5 as its documentation proposes: name and date comparisons, three blocking rules, EM; 0.99 automatic, 0.05 shown."""
    import pyarrow as pa
    import splink.comparison_library as cl
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    def table(rows: Iterable[dict[str, str]]) -> pa.Table:
        names = []
        for row in rows:
            parts = (row["PatientName"].upper().split("^") + ["", ""])[:2]
            born = row["PatientBirthDate"]
            names.append(
                {
                    "unique_id": row["key"],
                    "mrn": row["PatientID"].lstrip("0") or None,
                    "surname": parts[0] or None,
                    "first_name": parts[1] or None,
                    "dob": f"{born[:4]}-{born[4:6]}-{born[6:8]}" if len(born) == 8 else None,
                    "sex": row["PatientSex"] or None,
                }
            )
        text = pa.string()
        return pa.Table.from_pylist(
            names, pa.schema([(name, text) for name in ("unique_id", "mrn", "surname", "first_name", "dob", "sex")])
        )

    has_ids = any(row["PatientID"] for row in people.pacs)
    comparisons = [
        cl.NameComparison("surname"),
        cl.NameComparison("first_name"),
        cl.DateOfBirthComparison("dob", input_is_string=True),
        cl.ExactMatch("sex"),
    ]
    rules = [block_on("dob"), block_on("surname", "first_name")]
    if has_ids:
        comparisons.insert(0, cl.ExactMatch("mrn"))
        rules.append(block_on("mrn"))
    api = DuckDBAPI()
    sides = [api.register(table(rows), dataset_display_name=name) for rows, name in ((people.pacs, "pacs"), (people.ris, "ris"))]
    settings = SettingsCreator(link_type="link_only", comparisons=comparisons, blocking_rules_to_generate_predictions=rules)
    linker = Linker(sides, settings, log_level=None)
    linker.training.estimate_probability_two_random_records_match([block_on("surname", "first_name", "dob")], recall=0.7)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    for rule in (block_on("dob"), block_on("surname", "first_name")):
        linker.training.estimate_parameters_using_expectation_maximisation(rule)
    found = linker.inference.predict(threshold_match_probability=0.05).as_pyarrow_table().to_pylist()
    scored = [((row["unique_id_l"], row["unique_id_r"]), row["match_probability"]) for row in found]
    return {pair for pair, score in scored if score >= 0.99}, {pair for pair, score in scored if score < 0.99}


def ours(people: Any) -> tuple[set[Pair], set[Pair]]:
    """Match as ``vna reconcile match --level patient`` does, decisions made but not written."""
    from vna.reconcile.lists import from_rows
    from vna.reconcile.rules import MatchLevel, SiteRules
    from vna.reconcile.run import match

    lists = []
    for rows, name in ((people.ris, "ris"), (people.pacs, "pacs")):
        header = list(dict.fromkeys(column for row in rows[:1000] for column in row))
        lists.append(
            from_rows(header, [[row.get(column, "") for column in header] for row in rows], name, MatchLevel.PATIENT, name, {})
        )
    _, file = match(*lists, MatchLevel.PATIENT, SiteRules())
    pairs = {(row["pacs_key"], row["ris_key"]): row["outcome"] for row in file.rows if row["pacs_key"] and row["ris_key"]}
    return {p for p, o in pairs.items() if o == "auto"}, {p for p, o in pairs.items() if o == "review"}


def measure(system: str, path: Path) -> dict[str, Any]:
    """Run one system in this process and measure it."""
    people = pickle.loads(path.read_bytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    auto, shown = {"exact patient ID": exact_id, "splink": plain_splink, "vna": ours}[system](people)
    seconds = time.perf_counter() - started
    true = people.pairs()
    return {
        "system": system,
        "workload": f"{len(people.pacs)} x {len(people.ris)}",
        "seconds": round(seconds, 2),
        "instances_per_s": round(len(people.pacs) / seconds, 1),
        "mib_per_s": None,
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "loaded_mib": round(before),
        "auto": len(auto),
        "wrong": len(auto - true),
        "shown": len(shown),
        "auto_recall": round(len(auto & true) / len(true), 4),
        "recall": round(len((auto | shown) & true) / len(true), 4),
    }


def main(args: list[str] | None = None) -> dict[str, Any]:
    """Draw the population, run the systems one after the other, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pacs", type=int, default=50_000)
    parser.add_argument("--ris", type=int, default=45_000)
    parser.add_argument("--population", choices=["riverside", "harbour"], default="riverside")
    parser.add_argument("--no-ids", action="store_true")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--system", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(args)
    if chosen.system:
        print(json.dumps(measure(chosen.system, chosen.file)))
        return {}
    from tests.support import populations

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "population.pickle"
        draw = getattr(populations, chosen.population)
        path.write_bytes(pickle.dumps(draw(chosen.pacs, chosen.ris, chosen.seed, ids=not chosen.no_ids)))
        rows = []
        for system in SYSTEMS:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.match", "--system", system, "--file", str(path)],
                capture_output=True,
                text=True,
                check=True,
            )
            rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
    by_name = {row["system"]: row for row in rows}
    result = {
        "name": "match",
        "population": chosen.population,
        "rows": rows,
        "ratios": {"seconds_vna_to_splink": round(by_name["vna"]["seconds"] / by_name["splink"]["seconds"], 3)},
    }
    if chosen.json:
        print(json.dumps(result))
    else:
        for row in rows:
            print(
                f"{row['system']:18} {row['seconds']:8.2f} s  {row['peak_mib']:6} MiB  auto {row['auto']:7}  wrong {row['wrong']:5}  shown {row['shown']:7}  recall {row['recall']:.4f}"
            )
    return result


if __name__ == "__main__":
    main()
