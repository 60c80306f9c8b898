"""Matchers as SQL conditions. What a requestor wrote is always a bound parameter, never part of the statement."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vna.query.attributes import Attribute, Kind
from vna.query.matching import Anything, Matcher, Nothing, Patterns, Ranges, Values

_VALID_TIME = r"'([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?'"
_LIKE_ESCAPE = "!"
_ANY_GROUP = "[^=]*"


class Parameters:
    """The values bound to a statement's parameters ``$1``, ``$2``, ..."""

    def __init__(self) -> None:
        self.values: list[object] = []

    def bind(self, value: object) -> str:
        """Take a value and give the parameter that stands for it."""
        self.values.append(value)
        return f"${len(self.values)}"


def condition(attribute: Attribute, matcher: Matcher, parameters: Parameters) -> str:
    """Give the condition that the column named by the attribute's keyword meets the matcher."""
    column = f'"{attribute.keyword}"'
    match matcher:
        case Anything():
            return "true"
        case Nothing():
            return f"{column} IS NULL"
        case Values(values):
            bound = ", ".join(map(parameters.bind, values))
            if attribute.is_multiple:
                return f"list_has_any(string_split({column}, '\\'), [{bound}])"
            return f"{column} IN ({bound})"
        case Patterns(patterns):
            return _any(_like(attribute, column, pattern, parameters) for pattern in patterns)
        case Ranges(ranges):
            in_range = _date_in_range if attribute.kind is Kind.DATE else _time_in_range
            return _any(in_range(column, low, high, parameters) for low, high in ranges)


def _date_in_range(column: str, low: str, high: str, parameters: Parameters) -> str:
    """Compare years first, which holds for either way to write a date and is done while the column is read."""
    years = f"{column} BETWEEN {parameters.bind(low[:4])} AND {parameters.bind(high[:4] + '~')}"
    exact = f"{date_of(column)} BETWEEN {parameters.bind(low)} AND {parameters.bind(high)}"
    return f"({years} AND {exact} AND {is_date(column)})"


def _time_in_range(column: str, low: str, high: str, parameters: Parameters) -> str:
    return f"({is_time(column)} AND {time_of(column)} BETWEEN {parameters.bind(low)} AND {parameters.bind(high)})"


def moment_condition(date: str, time: str, dates: Ranges, times: Ranges, parameters: Parameters) -> str:
    """Give the condition that date and time together lie in one range, PS3.4 C.2.2.2.5.4; no time counts as midnight."""
    (first, last), (begin, end) = dates.ranges[0], times.ranges[0]
    moment = f"({date_of(date)} || CASE WHEN {is_time(time)} THEN {time_of(time)} ELSE '000000.000000' END)"
    return f"({is_date(date)} AND {moment} BETWEEN {parameters.bind(first + begin)} AND {parameters.bind(last + end)})"


def date_of(column: str) -> str:
    """Give a date as 8 digits; ACR-NEMA wrote them with full stops."""
    return f"replace({column}, '.', '')"


def is_date(column: str) -> str:
    """Give the condition that a date has 8 digits."""
    return f"regexp_full_match({date_of(column)}, '[0-9]{{8}}')"


def time_of(column: str) -> str:
    """Give a time as HHMMSS.FFFFFF, what it leaves out as zeros; ACR-NEMA wrote them with colons."""
    plain = f"replace({column}, ':', '')"
    return f"rpad(split_part({plain}, '.', 1), 6, '0') || '.' || rpad(split_part({plain}, '.', 2), 6, '0')"


def is_time(column: str) -> str:
    """Give the condition that a time is one."""
    return f"regexp_full_match(replace({column}, ':', ''), {_VALID_TIME})"


def _any(conditions: Iterable[str]) -> str:
    return "(" + " OR ".join(conditions) + ")"


def _like(attribute: Attribute, column: str, pattern: str, parameters: Parameters) -> str:
    if attribute.kind is Kind.NAME:
        # both sides are folded by the same functions; they leave the signs of the expression alone
        bound = parameters.bind(name_expression(pattern))
        return f"regexp_full_match(lower(strip_accents({column})), lower(strip_accents({bound})))"
    if attribute.is_multiple:
        bound = parameters.bind(r"(?s)(?:.*\\)?" + _expression(pattern, any_one=r"[^\\]") + r"(?:\\.*)?")
        return f"regexp_full_match({column}, {bound})"
    escaped = re.sub(rf"[{_LIKE_ESCAPE}%_]", lambda found: _LIKE_ESCAPE + found[0], pattern)
    bound = parameters.bind(escaped.replace("*", "%").replace("?", "_"))
    return f"{column} LIKE {bound} ESCAPE '{_LIKE_ESCAPE}'"


def _expression(pattern: str, any_one: str) -> str:
    signs = {"*": f"{any_one}*", "?": any_one}
    return "".join(signs.get(letter) or _literal(letter) for letter in pattern)


def _literal(letter: str) -> str:
    return f"\\{letter}" if letter.isascii() and not letter.isalnum() and letter != " " else letter


def name_expression(pattern: str) -> str:
    """Give the regular expression (RE2) of a person name's pattern.

    A pattern without ``=`` may match any of the alphabetic, ideographic and phonetic groups; with ``=``, each of its groups must
    match the one in its place, and an empty one matches any (PS3.5 6.2.1). Within a group, empty components at the end do not
    count, so that ``MUELLER^*`` matches a name without a given name as well.
    """
    groups = [group.strip() for group in pattern.split("=")]
    if len(groups) == 1:
        return f"(?:{_ANY_GROUP}=)*{_group(groups[0])}(?:={_ANY_GROUP})*"
    while groups and not groups[-1]:
        groups.pop()
    matched = [_group(group) if group else _ANY_GROUP for group in groups]
    return "=".join(matched or [_ANY_GROUP]) + f"(?:={_ANY_GROUP})*"


def _group(group: str) -> str:
    stem = group.rstrip("^*")
    tail = group[len(stem) :]
    carets, star, _ = tail.partition("*")
    expression = "".join(_letter(letter) for letter in stem)
    if star:
        more = f"(?: *\\^){{{len(carets)}}}" if carets else ""
        expression += f"(?:{more}{_ANY_GROUP})?"
    return expression + r"[\^ ]*"


def _letter(letter: str) -> str:
    if letter == "^":
        return r" *\^ *"
    return {"*": _ANY_GROUP, "?": "[^=]"}.get(letter) or _literal(letter)
