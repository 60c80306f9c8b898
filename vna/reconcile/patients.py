"""Patient level: which rule speaks of a pair, and which pairs stand once rivals are looked at.

Everything that could make an automatic pair wrong ends in review here: one ID and two persons, parents and children, twins and
siblings, namesakes, runners-up that fit about as well. What is left to chance is counted: pairs without a patient ID are
automatic only while the number of wrong ones to be expected in the whole run stays under ``thresholds.false_autos`` (ADR 0022).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import duckdb

from vna.reconcile.blocking import candidates
from vna.reconcile.dates import DateLevel
from vna.reconcile.equivalents import GIVEN_GROUPS
from vna.reconcile.explain import explain_patients
from vna.reconcile.identifiers import IdLevel
from vna.reconcile.links import Link, Matching
from vna.reconcile.names import Level
from vna.reconcile.records import Frequencies, People, Person, frequencies
from vna.reconcile.rules import MatchLevel, Outcome, SiteRules
from vna.reconcile.scoring import Comparison, Model, compare, train

_CHANCE = "chance"
_CORRELATION = 4.0
"""Names and birth years go together (fashions, families, neighbourhoods): chance agreement is likelier than the product says."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two records that may be one person. ``rule`` is the rule that speaks; ``state`` what it says, rivals not yet looked at."""

    left: int
    right: int
    comparison: Comparison
    score: float
    rule: str
    state: str


def match_patients(
    pacs: People, ris: People, rules: SiteRules, connection: duckdb.DuckDBPyConnection, *, study_rows: bool = False
) -> Matching:
    """Match the patients of two lists. With ``study_rows`` one PACS patient stands in several rows, once a study."""
    left_of, left = _collapse(pacs, merge_nameless=study_rows)
    right_of, right = _collapse(ris, merge_nameless=False)
    pool = candidates(left, right, connection)
    counts = frequencies(left, right)
    ids_count = True
    pairs = _compared(pacs, ris, pool.pairs(), ids_count=True)
    if not _ids_are_shared(pairs):
        ids_count = False
        pairs = _compared(pacs, ris, pool.pairs(), ids_count=False)
    model = train(left, right, counts, [c for _, _, c in pairs], ids_count=ids_count)
    judged = _judged(pairs, pacs, ris, model, rules)
    settled = _Settling(judged, pacs, ris, counts, rules, len(left), len(right)).links()
    links = []
    for link, pair in settled:
        weights = model.weights(pair.comparison, pacs.persons[pair.left], ris.persons[pair.right])
        words = explain_patients(pair.comparison, weights)
        links.append(Link(link.outcome, link.rule, link.score, link.left, link.right, words))
    return Matching(MatchLevel.PATIENT, _spread(links, left_of, right_of, pacs, ris), pool.skipped, len(pool), ids_count)


def _collapse(side: People, *, merge_nameless: bool) -> tuple[dict[int, list[int]], People]:
    """Put rows of one identical identity together; the first stands for all. Rows without an ID only where rows are studies."""
    groups: dict[object, list[int]] = {}
    for person in side.persons:
        if person.is_junk:
            continue
        same = (person.ids, person.name, person.birth_date, person.sex)
        key: object = same if person.ids or merge_nameless else person.index
        groups.setdefault(key, []).append(person.index)
    kept = {rows[0]: rows for rows in groups.values()}
    return kept, People([side.persons[index] for index in sorted(kept)])


def _compared(
    pacs: People, ris: People, pool: Iterable[tuple[int, int]], *, ids_count: bool
) -> list[tuple[int, int, Comparison]]:
    """Compare the candidates and keep those with anything to say."""
    found = []
    left, right = pacs.persons, ris.persons
    for a, b in pool:
        one, other = left[a], right[b]
        c = compare(one, other, ids_count=ids_count)
        if (
            c.patient_id == IdLevel.SAME
            or (
                c.family + c.given >= 3
                and (c.birth_date > 0 or c.patient_id == IdLevel.TYPO or (c.family >= Level.CLOSE and c.given >= Level.CLOSE))
            )
            or (c.birth_date >= DateLevel.TYPO and (c.family >= Level.CLOSE or c.given >= Level.CLOSE))
        ):
            found.append((a, b, c))
    return found


def _ids_are_shared(pairs: Sequence[tuple[int, int, Comparison]]) -> bool:
    """See whether both lists number their patients alike: where name and birth date agree fully, IDs must agree now and then."""
    sure = [
        c for _, _, c in pairs if c.family == c.given == Level.EXACT and c.birth_date == DateLevel.EXACT and c.patient_id >= 0
    ]
    return len(sure) < 20 or sum(c.patient_id == IdLevel.SAME for c in sure) >= 0.05 * len(sure)


def _judged(
    pairs: Sequence[tuple[int, int, Comparison]], pacs: People, ris: People, model: Model, rules: SiteRules
) -> list[Pair]:
    judged = []
    for a, b, c in pairs:
        left, right = pacs.persons[a], ris.persons[b]
        score = model.probability(model.bits(c, left, right))
        rule, state = judge(c, left, right, model.counts)
        if rule in rules.disabled and state in (Outcome.AUTO, _CHANCE):
            rule, state = "P11", Outcome.REVIEW
        for own in rules.rules:
            if own.level is MatchLevel.PATIENT and rule != "P7" and _holds(c, own.when):
                rule, state = own.name, own.outcome
                break
        if state or score >= rules.thresholds.review:
            judged.append(Pair(a, b, c, score, rule or "P11", state or Outcome.REVIEW))
        elif c.birth_date == DateLevel.EXACT and c.family >= Level.CLOSE:
            judged.append(Pair(a, b, c, score, "", ""))  # a brother or sister: nothing to show, but a rival
    return judged


def _holds(comparison: Comparison, when: object) -> bool:
    assert isinstance(when, dict)
    words = {
        "patient_id": comparison.patient_id.name.lower(),
        "family": comparison.family.name.lower(),
        "given": comparison.given.name.lower(),
        "birth_date": comparison.birth_date.name.lower(),
        "sex": {1: "same", 0: "different", -1: "missing"}[comparison.sex],
    }
    return all(words.get(field) in levels for field, levels in when.items())


def judge(c: Comparison, left: Person, right: Person, counts: Frequencies) -> tuple[str, str]:
    """Name the rule that speaks of a pair and what it says; ("", "") when only the score can tell. Rivals are not looked at."""
    doubt = _different_people_of_one_name(left, right)
    if c.patient_id == IdLevel.SAME:
        return _judge_same_id(c, left, right, counts, doubt=doubt)
    alike = c.birth_date == DateLevel.EXACT and c.family >= Level.EQUIVALENT and c.given >= Level.EQUIVALENT
    if not alike:
        return "", ""
    if c.patient_id == IdLevel.DIFFERENT:
        return "P9", Outcome.REVIEW
    exact = c.family == Level.EXACT and c.given == Level.EXACT and c.sex != 0 and not doubt and not _is_new_year(left)
    if not exact or min(len(left.name.given_key), len(right.name.given_key)) < 2 or left.name.is_baby or right.name.is_baby:
        return "P11", Outcome.REVIEW
    if c.patient_id == IdLevel.TYPO:
        return ("P5", _CHANCE) if c.contact != 0 and not _neighbours(left, right) else ("P11", Outcome.REVIEW)
    return "P4", _CHANCE


def _judge_same_id(c: Comparison, left: Person, right: Person, counts: Frequencies, *, doubt: bool) -> tuple[str, str]:
    strong = c.family >= Level.EQUIVALENT and c.given >= Level.EQUIVALENT
    exact = c.family == Level.EXACT and c.given == Level.EXACT
    newborn = left.name.is_baby or right.name.is_baby
    same_baby = newborn and left.name == right.name and left.birth_date == right.birth_date and left.birth_date is not None
    if (
        not doubt
        and c.birth_date == DateLevel.EXACT
        and (c.sex != 0 or (exact and not c.crossed))
        and (strong or (same_baby and c.sex != 0))
    ):
        return "P1", Outcome.AUTO
    if not doubt and not newborn and c.sex != 0:
        if c.birth_date == DateLevel.EXACT and _nearly(c, left, right, counts):
            return "P2", Outcome.AUTO
        if strong and c.birth_date in (DateLevel.SWAPPED, DateLevel.TYPO) and _years_apart(left, right) <= 12:
            return "P3", Outcome.AUTO
        if exact and c.birth_date == DateLevel.MISSING and c.sex == 1 and _name_share(left, right, counts) < 1e-4:
            return "P6", Outcome.AUTO
    names = c.family >= Level.CLOSE and c.given >= Level.INITIAL
    unknown = c.birth_date == DateLevel.MISSING and (c.family == Level.MISSING or c.given == Level.MISSING)
    somewhat = c.given >= Level.EQUIVALENT or (
        c.family >= Level.CLOSE and (c.birth_date != DateLevel.DIFFERENT or c.given == Level.MISSING)
    )
    if names or unknown or somewhat or c.birth_date >= DateLevel.TYPO:
        return "P8", Outcome.REVIEW
    return "P7", Outcome.CONFLICT


def _nearly(c: Comparison, left: Person, right: Person, counts: Frequencies) -> bool:
    """Tell a typing error, an initial or a double name from another person's name."""
    if c.family >= Level.EQUIVALENT and c.given in (Level.PARTIAL, Level.INITIAL):
        return True
    if c.family >= Level.EQUIVALENT and c.given == Level.CLOSE:
        return is_typing_error(left.name.given_key, right.name.given_key, counts)
    return c.family in (Level.PARTIAL, Level.CLOSE) and c.given >= Level.EQUIVALENT


def is_typing_error(left: str, right: str, counts: Frequencies) -> bool:
    """Tell a misspelt given name from two names that brothers and sisters bear (Jan and Jana, Anna and Hanna, Tim and Jim)."""
    if not left or not right or left[0] != right[0]:
        return False
    ends = (left[:-1], right[:-1], left, right)
    if ends[0] == right or ends[1] == left or (ends[0] == ends[1] and left[-1] in "AEIOY" and right[-1] in "AEIOY"):
        return False
    usual = [word in GIVEN_GROUPS or counts.given[word] >= max(4, counts.records // 8_000) for word in (left, right)]
    return not all(usual) and max(len(left), len(right)) >= 4


def _different_people_of_one_name(left: Person, right: Person) -> bool:
    a, b = left.name, right.name
    if a.generation != b.generation and (a.generation or b.generation):
        return left.birth_date is None or left.birth_date != right.birth_date or bool(a.generation and b.generation)
    return bool((a.multiple or b.multiple) and a.multiple != b.multiple)


def _neighbours(left: Person, right: Person) -> bool:
    """See whether two IDs were given one after the other (a family registered in one go): no typing error then."""
    numbers = [[int(i.digits) for i in p.ids if i.digits.isdigit()] for p in (left, right)]
    return any(abs(a - b) < 100 for a in numbers[0] for b in numbers[1])


def _is_new_year(person: Person) -> bool:
    return person.birth_date is not None and (person.birth_date.month, person.birth_date.day) == (1, 1)


def _years_apart(left: Person, right: Person) -> int:
    return abs(left.birth_date.year - right.birth_date.year) if left.birth_date and right.birth_date else 99


def _name_share(left: Person, right: Person, counts: Frequencies) -> float:
    """Give how likely a stranger bears this name."""
    product = max(counts.share(counts.family, left.name.family_key), counts.share(counts.family, right.name.family_key))
    product *= max(counts.share(counts.given, left.name.given_key), counts.share(counts.given, right.name.given_key))
    namesakes = max(counts.full[p.name.family_key + "^" + p.name.given_key] for p in (left, right)) - 2
    if len(left.name.given.words) > 1 and left.name.given.words == right.name.given.words:
        product /= 10
    return max(product, max(namesakes, 0) / max(counts.records, 1))


class _Settling:
    """Looks at rivals, spends the budget of chance, and gives each record its links."""

    def __init__(
        self, pairs: Sequence[Pair], pacs: People, ris: People, counts: Frequencies, rules: SiteRules, n_left: int, n_right: int
    ) -> None:
        self.pacs, self.ris, self.counts, self.rules = pacs, ris, counts, rules
        self.n_left, self.n_right = n_left, n_right
        self.of_left: dict[int, list[Pair]] = defaultdict(list)
        self.of_right: dict[int, list[Pair]] = defaultdict(list)
        for pair in pairs:
            self.of_left[pair.left].append(pair)
            self.of_right[pair.right].append(pair)

    def links(self) -> list[tuple[Link, Pair]]:
        """Decide every record; automatic pairs first, then what is left for people."""
        autos = self._by_rule()
        autos.update(self._by_chance(autos))
        auto_left = {pair.left for pair in autos.values()}
        auto_right = {pair.right for pair in autos.values()}
        found = [(Link(Outcome.AUTO, pair.rule, pair.score, pair.left, pair.right), pair) for pair in autos.values()]
        for left, pairs in self.of_left.items():
            if left in auto_left:
                continue
            found += [(Link(Outcome(p.state), p.rule, p.score, p.left, p.right), p) for p in self._for_people(pairs, auto_right)]
        return found

    def _by_rule(self) -> dict[tuple[int, int], Pair]:
        found = {}
        for pairs in self.of_left.values():
            sure = [p for p in pairs if p.state == Outcome.AUTO]
            if not sure:
                continue
            best = max(sure, key=lambda p: (_RANK.get(p.rule, 9) * -1, p.score, -p.right))
            if any(p is not best and _RANK.get(p.rule, 9) <= _RANK.get(best.rule, 9) for p in sure) or self._has_rival(best):
                continue
            found[best.left, best.right] = best
        return found

    def _has_rival(self, best: Pair) -> bool:
        """See whether another record fits as well: for inexact pairs any brother or sister, for exact ones an exact one."""
        fuzzy = best.rule != "P1" or best.comparison.given != Level.EXACT
        for other in (*self.of_left[best.left], *self.of_right[best.right]):
            if other is best or (
                other.left != best.left and other.right == best.right and self._same_patient(other.left, best.left)
            ):
                continue
            c = other.comparison
            if (
                fuzzy
                and c.birth_date >= DateLevel.PART
                and c.family >= Level.CLOSE
                and (c.patient_id != IdLevel.SAME or other.left == best.left)
            ):
                if c.given >= best.comparison.given or best.comparison.given < Level.EQUIVALENT:
                    return True
            elif not fuzzy and other.left == best.left and other.state == Outcome.AUTO and other.rule == "P1":
                return True
        return False

    def _same_patient(self, left: int, other: int) -> bool:
        """See whether two PACS rows bear one ID: several rows of one patient are no rivals."""
        a, b = self.pacs.persons[left].ids, self.pacs.persons[other].ids
        return bool(a and b and a[0] == b[0])

    def _by_chance(self, autos: dict[tuple[int, int], Pair]) -> dict[tuple[int, int], Pair]:
        """Take pairs without an ID in common, the rarest first, while the expected number of wrong ones stays in the budget."""
        taken_left, taken_right = {p.left for p in autos.values()}, {p.right for p in autos.values()}
        waiting = []
        for left, pairs in self.of_left.items():
            chance = [p for p in pairs if p.state == _CHANCE]
            if len(chance) != 1 or left in taken_left or chance[0].right in taken_right:
                continue
            pair = chance[0]
            if not self._has_runner_up(pair):
                waiting.append((self._risk(pair), pair.left, pair.right, pair))
        orphans = max(0.05, 1 - (len(taken_left) + len(waiting)) / max(self.n_left, 1))
        spent, found = 0.0, {}
        for risk, left, right, pair in sorted(waiting, key=lambda item: item[:3]):
            spent += risk * orphans
            if spent > self.rules.thresholds.false_autos:
                break
            found[left, right] = pair
        return found

    def _has_runner_up(self, pair: Pair) -> bool:
        for other in (*self.of_left[pair.left], *self.of_right[pair.right]):
            c = other.comparison
            if other is pair:
                continue
            if c.birth_date >= DateLevel.PART and c.family >= Level.CLOSE and c.given >= Level.INITIAL:
                return True
            if c.patient_id == IdLevel.SAME and other.left == pair.left:
                return True
        return False

    def _risk(self, pair: Pair) -> float:
        left, right = self.pacs.persons[pair.left], self.ris.persons[pair.right]
        assert left.birth_date is not None
        risk = self.n_right * _name_share(left, right, self.counts) * self.counts.birth_share(left.birth_date) * _CORRELATION
        if pair.rule == "P5":
            risk *= 1e-2
        risk *= {1: 0.1, 0: 10.0, -1: 1.0}[pair.comparison.contact]
        return risk * (4 if pair.comparison.crossed else 1)

    def _for_people(self, pairs: Sequence[Pair], auto_right: set[int]) -> list[Pair]:
        """Choose what a person sees of one PACS record: the best candidates, and every pair of one ID."""
        ranked = sorted((p for p in pairs if p.state), key=lambda p: (-p.score, p.right))
        best = ranked[0].score if ranked else 0.0
        shown: list[Pair] = []
        for pair in ranked:
            by_id = pair.comparison.patient_id == IdLevel.SAME
            if not by_id and (len(shown) >= self.rules.thresholds.candidates or pair.score < best / 50):
                continue
            if not by_id and pair.right in auto_right and pair.score < 0.5:
                continue
            shown.append(pair)
        conflicts = [p for p in shown if p.state == Outcome.CONFLICT]
        if len(conflicts) < len(shown) and any(p.score > 0.9 for p in shown if p.state != Outcome.CONFLICT):
            shown = [p for p in shown if p.state != Outcome.CONFLICT] + conflicts[:1]
        many = len([p for p in shown if p.state != Outcome.CONFLICT]) > 1
        return [self._named(p, many=many) for p in shown]

    @staticmethod
    def _named(pair: Pair, *, many: bool) -> Pair:
        if pair.state == Outcome.CONFLICT:
            return pair
        rule = pair.rule
        if rule in ("P1", "P2", "P3", "P6") or (many and rule in ("P4", "P5", "P11")):
            rule = "P10"
        elif rule in ("P4", "P5"):
            rule = "P11"
        return replace(pair, rule=rule, state=Outcome.REVIEW)


_RANK = {"P1": 1, "P2": 2, "P3": 2, "P6": 3}


def _spread(
    links: Iterable[Link], left_of: dict[int, list[int]], right_of: dict[int, list[int]], pacs: People, ris: People
) -> list[Link]:
    """Give every row its own link, and say what becomes of rows that have none."""
    found: list[Link] = []
    seen_right: set[int] = set()
    seen_left: set[int] = set()
    for link in links:
        if link.left is None or link.right is None:
            continue
        found += [link if row == link.left else replace(link, left=row) for row in left_of[link.left]]
        seen_left.add(link.left)
        seen_right.add(link.right)
    for first, rows in left_of.items():
        if first not in seen_left:
            found += [
                Link(Outcome.ORPHAN_PACS, "P12", 0.0, row, None, explanation="no candidate in the RIS list") for row in rows
            ]
    found += [
        Link(Outcome.ORPHAN_RIS, "P12", 0.0, None, first, explanation="no candidate in the PACS list")
        for first in right_of
        if first not in seen_right
    ]
    found += [
        Link(Outcome.JUNK, "P13", 0.0, p.index, None, explanation="test patient, phantom or junk")
        for p in pacs.persons
        if p.is_junk
    ]
    found += [
        Link(Outcome.JUNK, "P13", 0.0, None, p.index, explanation="test patient, phantom or junk")
        for p in ris.persons
        if p.is_junk
    ]
    return found
