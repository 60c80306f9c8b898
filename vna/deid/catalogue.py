"""Catalogues of devices: where which device burns text into its images, in the ``%filter`` sections of the recipe dialect.

A site keeps its own as a file; ``deid`` names the one that the ``deid`` package ships (extra ``deid``). Of a catalogue only
rules with coordinates count: it says what to blank, never what may pass or is held, which is for the recipe to say.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from vna.deid.dialect import parse_document
from vna.deid.filters import PixelRule
from vna.errors import ConfigError

SHIPPED = "deid"


def load_catalogue(name: str) -> tuple[PixelRule, ...]:
    """Load a catalogue file, or the one called ``deid``. Raises ConfigError with every line that is not understood."""
    path = _shipped() if name == SHIPPED and not Path(name).exists() else Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the catalogue {name} cannot be read: {type(exc).__name__}") from exc
    # The shipped file is a whole recipe, whose header part is not used; ours and a site's have %filter sections only.
    document = parse_document(text if name != SHIPPED else _filters_of(text))
    problems = document.problems + [f"line {number}: a catalogue has no actions" for number, _ in document.actions]
    if problems:
        raise ConfigError([f"catalogue {name}: {problem}" for problem in problems])
    return tuple(rule for rule in document.pixel_rules if rule.coordinates and rule.conditions)


def _shipped() -> Path:
    spec = find_spec("deid")
    if spec is None or spec.origin is None:
        raise ConfigError("the catalogue deid is part of the deid package", hint='install it: pip install "vna[deid]"')
    return Path(spec.origin).parent / "data" / "deid.dicom"


def _filters_of(text: str) -> str:
    kept, section = ["FORMAT dicom"], ""
    for line in text.splitlines():
        if line.strip().startswith("%"):
            section = line.split()[0].lower()
        kept.append(line if section == "%filter" else "")
    return "\n".join(kept)


def load_releases(path: Path) -> frozenset[str]:
    """Read what a person has released: a CSV with a column ``uid`` (a SOP instance, series or study as received).

    Other columns, such as who released it and when, are the site's own record.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the releases {path} cannot be read: {type(exc).__name__}") from exc
    if rows and "uid" not in rows[0]:
        raise ConfigError(f"{path} has no column uid", hint="one line a released SOP instance, series or study")
    return frozenset(row["uid"].strip() for row in rows if row["uid"])


def pixel_rules(recipe_rules: Iterable[PixelRule], catalogues: Iterable[str]) -> tuple[PixelRule, ...]:
    """Put a recipe's own rules before those of the catalogues."""
    return (*recipe_rules, *(rule for name in catalogues for rule in load_catalogue(name)))
