"""Patient merges (HL7 A40: MRG-1 prior, PID-3 surviving), applied to patient IDs before anything is compared.

Guards: a merge of an ID into itself has no effect and is counted; a circle, and one prior ID with two survivors are refused by
the number of the row; a chain is followed to its end; a qualified ID is never replaced by an unqualified one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vna.errors import ConfigError, RefusedError
from vna.reconcile.identifiers import Identifier, IdRules, normalise
from vna.reconcile.lists import decode_text

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Merges:
    """Prior ID -> surviving ID, chains resolved. ``ignored`` counts the rows that merge an ID into itself."""

    surviving: Mapping[_Key, Identifier] = field(default_factory=dict)
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.surviving)

    def apply(self, identifier: Identifier) -> Identifier:
        """Give the surviving ID; where the merge names no issuer, the ID keeps its own."""
        found = self.surviving.get((identifier.issuer, identifier.text))
        if found is None and identifier.issuer:
            found = self.surviving.get(("", identifier.text))
        if found is None:
            return identifier
        if identifier.issuer and not found.issuer:
            return Identifier(identifier.issuer, found.text, found.digits, found.prefix)
        return found


NO_MERGES = Merges()
"""No merges at all."""


def read_merges(rows: Iterable[Mapping[str, str]], rules: IdRules) -> Merges:
    """Read rows with ``prior`` and ``surviving`` (and ``prior_issuer``, ``surviving_issuer``, ``issuer`` where known).

    Raises RefusedError that lists every line which the guards stop; lines are counted from the first row of data.
    """
    direct: dict[_Key, Identifier] = {}
    lines: dict[_Key, int] = {}
    problems: list[str] = []
    ignored = 0
    for line, row in enumerate(rows, 1):
        issuer = row.get("issuer", "")
        prior = normalise(row.get("prior", ""), row.get("prior_issuer", "") or issuer, rules)
        surviving = normalise(row.get("surviving", ""), row.get("surviving_issuer", "") or issuer, rules)
        if prior is None or surviving is None:
            problems.append(f"row {line}: the prior or the surviving ID is empty")
            continue
        key = (prior.issuer, prior.text)
        if key == (surviving.issuer, surviving.text):
            ignored += 1
        elif key in direct and direct[key] != surviving:
            problems.append(f"row {line}: the prior ID was merged into another survivor in row {lines[key]}")
        elif prior.issuer and not surviving.issuer:
            problems.append(f"row {line}: a qualified ID would lose its issuer")
        else:
            direct[key], lines[key] = surviving, line
    resolved = {}
    for key in direct:
        end = _follow(key, direct)
        if end is None:
            problems.append(f"row {lines[key]}: the merges run in a circle")
        else:
            resolved[key] = end
    if problems:
        raise RefusedError(
            "the merge list cannot be applied: "
            + "; ".join(problems[:10])
            + (f"; and {len(problems) - 10} more" if len(problems) > 10 else ""),
            hint="correct these rows, or leave them out; nothing was matched",
        )
    return Merges(resolved, ignored)


def _follow(key: _Key, direct: Mapping[_Key, Identifier]) -> Identifier | None:
    seen = {key}
    end = direct[key]
    while (step := direct.get((end.issuer, end.text)) or (direct.get(("", end.text)) if end.issuer else None)) is not None:
        if (end.issuer, end.text) in seen:
            return None
        seen.add((end.issuer, end.text))
        end = step if step.issuer or not end.issuer else Identifier(end.issuer, step.text, step.digits, step.prefix)
    return None if (end.issuer, end.text) in seen and (end.issuer, end.text) == key else end


def read_merge_file(path: Path | None, rules: IdRules) -> Merges:
    """Read a merge list from a CSV file with the columns ``prior`` and ``surviving``. Raises ConfigError for any other file."""
    if path is None:
        return Merges()
    try:
        text = decode_text(path.read_bytes(), f"the merge list {path.name}")
    except OSError as exc:
        raise ConfigError(f"the merge list {path} cannot be read: {exc.strerror}") from exc
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = [(name or "").strip() for name in reader.fieldnames or ()]
    if "prior" not in names or "surviving" not in names:
        raise ConfigError(
            f"the merge list {path.name} needs the columns prior and surviving; it has: {', '.join(names) or 'none'}"
        )
    rows = [
        {(key or "").strip(): (value or "").strip() for key, value in row.items() if isinstance(value, str)} for row in reader
    ]
    return read_merges(rows, rules)
