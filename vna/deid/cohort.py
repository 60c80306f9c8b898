"""The folder of a cohort: what was finished, the manifest, the report, and the crosswalk that is kept apart.

::

    <cohort>/<PatientID>/<StudyInstanceUID>/<SeriesInstanceUID>/<SOPInstanceUID>.dcm    new identifiers throughout
    <cohort>/manifest.parquet      one row an object of the selection, held ones included
    <cohort>/report.json           profile, options, edition, key id, counts by action, what is held and why
    <cohort>/.deid-progress.jsonl  while a run is under way (the crosswalk has one of its own)
    <crosswalk>/uid_mapping.csv, patid_mapping.csv    id_old,id_new: whoever has these can undo it all
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from vna.deid.holds import HOLDS
from vna.deid.plan import Plan
from vna.deid.recipe import Recipe
from vna.deid.table import EDITION, METHOD_CODES, Profile
from vna.deid.values import Key
from vna.deid.work import Result
from vna.errors import ConfigError, LockedError, RefusedError, StoreError

PROGRESS = ".deid-progress.jsonl"
MANIFEST = "manifest.parquet"
REPORT = "report.json"
_OF_THE_RUN = ("key_id", "recipe", "edition")


class Cohort:
    """One cohort's folder, held by one run. Use as a context manager."""

    def __init__(self, root: Path, recipe: Recipe, key: Key, crosswalk: Path | None) -> None:
        self.root = root
        self.recipe = recipe
        self.key = key
        self.crosswalk = crosswalk
        self.resumed = 0
        self._progress: IO[str] | None = None
        self._crosswalk_progress: IO[str] | None = None
        self._earlier: dict[str, Result] = {}

    @classmethod
    def claim(cls, root: Path, recipe: Recipe, key: Key, crosswalk: Path | None) -> Self:
        """Take the folder for one run.

        Raises RefusedError when it holds anything else, or a cohort of another recipe or key; LockedError when another run
        holds it; ConfigError for a crosswalk inside of the cohort.
        """
        if crosswalk is not None and crosswalk.resolve().is_relative_to(root.resolve()):
            raise ConfigError(
                "the crosswalk must not lie in the cohort: it undoes the de-identification",
                hint="name another folder, not shared",
            )
        cohort = cls(root, recipe, key, crosswalk)
        try:
            root.mkdir(parents=True, exist_ok=True)
            cohort._check()
            cohort._open_progress()
        except OSError as exc:
            raise StoreError(f"{root} cannot be written: {exc.strerror}") from exc
        return cohort

    def _check(self) -> None:
        header = self._header()
        for name in (PROGRESS, REPORT):
            if (self.root / name).exists():
                first = _first_json(self.root / name)
                if {key: first.get(key) for key in header} != header:
                    raise RefusedError(
                        f"{self.root} was made with another recipe, key or version", hint="name an empty folder with --to"
                    )
                return
        if any(self.root.iterdir()):
            raise RefusedError(f"{self.root} is not empty and holds no cohort", hint="name an empty folder with --to")

    def _header(self) -> dict[str, str]:
        return {"recipe": self.recipe.name, "fingerprint": self.recipe.fingerprint, "key_id": self.key.key_id}

    def _open_progress(self) -> None:
        path = self.root / PROGRESS
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise LockedError(f"another run is writing to {self.root}", hint="wait for it, or name another folder") from None
        file.seek(0, os.SEEK_END)
        if not file.tell():
            file.write(json.dumps(self._header()) + "\n")
            file.flush()
        self._progress = file
        if self.crosswalk is not None:
            _private_folder(self.crosswalk)
            self._crosswalk_progress = _private_file(self.crosswalk / PROGRESS, os.O_APPEND)
        for leftover in self.root.rglob(".*.part"):
            leftover.unlink()

    def __enter__(self) -> Self:
        """Hold the folder."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Let the folder go; the progress of an unfinished run stays."""
        for file in (self._progress, self._crosswalk_progress):
            if file is not None:
                file.close()

    def finished(self, plan: Plan) -> dict[str, Result]:
        """Give what earlier runs did for this plan and what is still there, digest and all; only that need not be done again."""
        results = {result.source_key: result for result in self._recorded()}
        wanted = {task.source_key for task in plan.tasks}
        self._earlier = {key: result for key, result in results.items() if key not in wanted and result.state == "written"}
        done = {key: result for key, result in results.items() if key in wanted and self._is_intact(result)}
        self.resumed = len(done)
        return done

    def _recorded(self) -> Iterator[Result]:
        """Read the manifest of a finished run and the progress of an unfinished one, the later one last."""
        uids = {values["source_key"]: values["uids"] for values in self._crosswalk_lines()}
        for values in [*_read_manifest(self.root / MANIFEST), *_json_lines(self.root / PROGRESS)]:
            if "source_key" in values:
                yield Result(**(values | {"uids": uids.get(values["source_key"], {})}))

    def _crosswalk_lines(self) -> list[dict[str, Any]]:
        return _json_lines(self.crosswalk / PROGRESS) if self.crosswalk is not None else []

    def _is_intact(self, result: Result) -> bool:
        """Say whether a recorded output need not be made again; a held object is judged anew, since releases may have come."""
        if result.state != "written" or (self.crosswalk is not None and not result.uids):
            return False
        try:
            content = (self.root / result.path).read_bytes()
        except OSError:
            return False
        return len(content) == result.size and hashlib.sha256(content).hexdigest() == result.sha256

    def record(self, result: Result) -> None:
        """Note a result, so that a killed run is taken up behind it; old identifiers go to the crosswalk's folder only."""
        assert self._progress is not None
        if self._crosswalk_progress is not None and result.uids:
            self._crosswalk_progress.write(json.dumps({"source_key": result.source_key, "uids": result.uids}) + "\n")
            self._crosswalk_progress.flush()
        values = {name: value for name, value in asdict(result).items() if value and name != "uids"}
        self._progress.write(json.dumps(values) + "\n")
        self._progress.flush()

    def withdraw(self, result: Result) -> None:
        """Take an output back."""
        (self.root / result.path).unlink(missing_ok=True)

    def publish(self, plan: Plan, results: Sequence[Result]) -> tuple[Path, Path]:
        """Write manifest, report and crosswalk, each whole or not at all, and end the run. Gives the first two's paths.

        What earlier runs of the same recipe and key put into the cohort stays in its manifest. A file that the manifest does not
        name goes: a worker that died left it, and it was never audited.
        """
        ordered = sorted([*results, *self._earlier.values()], key=lambda result: (result.sop_instance_uid, result.source_key))
        self._sweep({result.path for result in ordered if result.state == "written"})
        if self.crosswalk is not None:
            _write_crosswalk(self.crosswalk, plan, results)
        _write_parquet(self.root / MANIFEST, [self._manifest_row(result) for result in ordered])
        _replace(self.root / REPORT, json.dumps(self._report(ordered), indent=1, sort_keys=True) + "\n")
        (self.root / PROGRESS).unlink()
        if self.crosswalk is not None:
            (self.crosswalk / PROGRESS).unlink(missing_ok=True)
        return self.root / MANIFEST, self.root / REPORT

    def _sweep(self, named: set[str]) -> None:
        for path in self.root.rglob("*"):
            if path.suffix in (".dcm", ".part") and path.relative_to(self.root).as_posix() not in named:
                path.unlink()

    def _manifest_row(self, result: Result) -> dict[str, Any]:
        row = {name: value for name, value in asdict(result).items() if name != "uids"}
        return row | {
            "actions": json.dumps(result.actions, sort_keys=True),
            "key_id": self.key.key_id,
            "recipe": self.recipe.name,
            "edition": EDITION,
        }

    def _report(self, results: Sequence[Result]) -> dict[str, Any]:
        written = [result for result in results if result.state == "written"]
        actions: Counter[str] = Counter()
        for result in written:
            actions.update(result.actions)
        held = [result for result in results if result.state == "held"]
        options = sorted({Profile.BASIC, *self.recipe.actions.options})
        return self._header() | {
            "edition": EDITION,
            "profile": [{"option": str(option), "code": METHOD_CODES[option][0]} for option in options],
            "instances": len(results),
            "written": len(written),
            "cleaned": sum(result.cleaned for result in written),
            "released": sum(result.released for result in written),
            "actions": dict(actions),
            "audit": {"outputs": len(written), "leaks": 0},
            "held": [
                {
                    "code": code,
                    "text": HOLDS[code][0],
                    "count": count,
                    "details": sorted({r.detail for r in held if r.code == code}),
                }
                for code, count in sorted(Counter(result.code for result in held).items())
            ],
        }


def _first_json(path: Path) -> Mapping[str, Any]:
    text = path.read_text(encoding="utf-8")
    try:
        values = json.loads(text if path.name == REPORT else text.partition("\n")[0])
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a progress file; the last line of a run that was killed may be cut short."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    return lines


def _read_manifest(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return [{name: _as_recorded(name, value) for name, value in row.items() if name not in _OF_THE_RUN} for row in rows]


def _as_recorded(name: str, value: Any) -> Any:
    return json.loads(value) if name == "actions" else value


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"size": pa.int64(), "cleaned": pa.bool_(), "released": pa.bool_()}
    names = [each.name for each in fields(Result) if each.name != "uids"] + list(_OF_THE_RUN)
    schema = pa.schema([(name, types.get(name, pa.string())) for name in names])
    temporary = path.with_name(f".{path.name}.part")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")
    temporary.replace(path)


def _write_crosswalk(folder: Path, plan: Plan, results: Sequence[Result]) -> None:
    """Write who is who, and add it to what the crosswalk of this key says already."""
    written = [result for result in results if result.state == "written"]
    uids = {old: new for result in written for old, new in result.uids.items()}
    patients = {plan.patients[result.source_key]: result.patient_id for result in written if plan.patients[result.source_key]}
    for name, mapping in (("uid_mapping.csv", uids), ("patid_mapping.csv", patients)):
        _write_mapping(folder / name, _read_mapping(folder / name) | mapping)


def _read_mapping(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id_old"]: row["id_new"] for row in csv.DictReader(file)}


def _write_mapping(path: Path, mapping: Mapping[str, str]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    with _private_file(temporary, os.O_TRUNC) as file:
        csv.writer(file, lineterminator="\n").writerows([("id_old", "id_new"), *sorted(mapping.items())])
    temporary.replace(path)


def _private_folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)


def _private_file(path: Path, how: int) -> IO[str]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600), "w", encoding="utf-8", newline="")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
