"""A question as C-FIND and QIDO-RS ask it: a level, keys to match, attributes to tell, a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vna.errors import ConfigError
from vna.query.attributes import ATTRIBUTES, PAIRED_TIMES, UNIQUE_KEYS, Attribute, Kind, Level, attribute
from vna.query.matching import Anything, Matcher, Ranges, Values, matcher


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. Make it with :func:`question`.

    ``matchers`` holds what restricts the answer, ``told`` what each answer consists of, in the order of the levels. With
    ``combined``, ranges of a date and of its time are one range.
    """

    level: Level
    matchers: Mapping[str, Matcher] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0
    combined: bool = False

    def at(self, *levels: Level) -> list[tuple[Attribute, Matcher]]:
        """Give the matchers of these levels' attributes."""
        found = ((ATTRIBUTES[keyword], matched) for keyword, matched in self.matchers.items())
        return [(asked, matched) for asked, matched in found if asked.level in levels]

    def told_at(self, *levels: Level) -> list[str]:
        """Give what is told of these levels' attributes."""
        return [keyword for keyword in self.told if ATTRIBUTES[keyword].level in levels]


def question(
    level: Level,
    keys: Mapping[str, str | Sequence[str]],
    *,
    include: Sequence[str] = (),
    limit: int | None = None,
    offset: int = 0,
    combined: bool = False,
    hierarchical: bool = False,
) -> Question:
    """Make a question of keys as text, PS3.4 C.2.2.2; a list of texts is matched by any of them.

    A key without a value matches everything. Told are the attributes of the level, those named by keys and by ``include``, and
    what identifies the levels above. ``hierarchical`` asks as PS3.4 C.4.1.3.1.1 has it without extended negotiation: one value of
    each unique key above the level, and no other key there. Raises ConfigError for keys that cannot be asked so.
    """
    asked = {keyword: attribute(keyword) for keyword in (*keys, *include)}
    for keyword, known in asked.items():
        if known.level.depth > level.depth:
            raise ConfigError(f"{keyword} belongs to the level {known.level}, which is below {level}")
        if known.kind is Kind.COUNT and known.level is Level.PATIENT is not level:
            raise ConfigError(f"{keyword} is told of patients, not at the level {level}")
    matchers = {
        keyword: matcher(asked[keyword], text if isinstance(text, str) else "\\".join(text)) for keyword, text in keys.items()
    }
    matchers = {keyword: matched for keyword, matched in matchers.items() if not isinstance(matched, Anything)}
    if hierarchical:
        _check_hierarchy(level, matchers)
    if combined:
        _check_combined(matchers)
    above = {UNIQUE_KEYS[each] for each in Level if each.depth < level.depth}
    told = {keyword for keyword, known in ATTRIBUTES.items() if known.level is level} | above | asked.keys()
    if level is Level.STUDY:
        told |= {"PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID"}  # of the study root, PS3.4 C.6.2.1
    ordered = tuple(keyword for keyword in ATTRIBUTES if keyword in told)
    return Question(level, matchers, ordered, limit, offset, combined)


def _check_hierarchy(level: Level, matchers: Mapping[str, Matcher]) -> None:
    """Refuse what only relational queries may ask; the study root knows the patient's attributes at the level of the study."""
    for each in Level:
        if each.depth >= level.depth or (each is Level.PATIENT):
            continue
        matched = matchers.get(UNIQUE_KEYS[each])
        if not (isinstance(matched, Values) and len(matched.values) == 1):
            raise ConfigError(f"a hierarchical query of the level {level} needs one {UNIQUE_KEYS[each]}")
    for keyword in matchers:
        above = ATTRIBUTES[keyword].level
        is_root = above is Level.PATIENT and level is Level.STUDY
        if above.depth < level.depth and not is_root and keyword != UNIQUE_KEYS[above]:
            raise ConfigError(
                f"{keyword} belongs to the level {above}: a hierarchical query of the level {level} cannot match it"
            )


def _check_combined(matchers: Mapping[str, Matcher]) -> None:
    for date, time in PAIRED_TIMES.items():
        for keyword in (date, time):
            matched = matchers.get(keyword)
            if date in matchers and time in matchers and isinstance(matched, Ranges) and len(matched.ranges) != 1:
                raise ConfigError(f"a combined range has one {keyword}")
