"""Exam level: which order a study belongs to, and which studies and orders belong to each other in groups.

The rules run in order, R1 to R9. One study with several orders and one order with several studies are results, never forced into
pairs. A study whose accession number points to another patient's order is never matched by it; its own order may still be found
by patient, date, modality and procedure (R4).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vna.reconcile.exam_records import DayLevel, Exam, ExamComparer, ExamComparison, PersonLevel, exams
from vna.reconcile.explain import explain_exams
from vna.reconcile.identifiers import IdLevel
from vna.reconcile.links import Link, Matching
from vna.reconcile.lists import Row
from vna.reconcile.merges import Merges
from vna.reconcile.procedures import ModalityLevel, ProcedureLevel, regions
from vna.reconcile.records import people
from vna.reconcile.rules import MatchLevel, Outcome, SiteRules

_MARGIN = 2.0
"""How much better (in bits) an order must fit than the next one to be taken without a person."""
_BLOCK = 400
"""Orders behind one key; a patient ID like 0 or an accession number like NONE brings in thousands and is not followed."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A study and an order that may belong together."""

    study: int
    order: int
    comparison: ExamComparison

    @property
    def score(self) -> float:
        """Give a probability-like score for ranking."""
        return 1 / (1 + 2 ** -(self.comparison.bits - 8))


def match_exams(pacs: Sequence[Row], ris: Sequence[Row], rules: SiteRules, merges: Merges) -> Matching:
    """Match studies with orders."""
    studies = exams(pacs, people(pacs, rules, merges).persons, rules)
    orders = exams(ris, people(ris, rules, merges).persons, rules)
    pool = list(_candidates(studies, orders))
    comparer = ExamComparer(rules)
    first = [(s, o, comparer.compare(studies[s], orders[o])) for s, o in pool]
    comparer.learn([(studies[s], orders[o]) for s, o, c in first if c.accession is IdLevel.SAME and c.person is PersonLevel.SAME])
    fits = [Fit(s, o, comparer.compare(studies[s], orders[o])) for s, o, _ in first]
    links = _Assignment(studies, orders, fits, rules).links()
    return Matching(MatchLevel.EXAM, links, {}, len(pool))


def _candidates(studies: Sequence[Exam], orders: Sequence[Exam]) -> Iterator[tuple[int, int]]:
    """Give pairs that share an accession number, a Study Instance UID, a patient ID, or name and birth date."""
    behind: dict[object, list[int]] = defaultdict(list)
    for order in orders:
        if not order.person.is_junk:
            for key in set(_keys(order)):
                behind[key].append(order.index)
    for study in studies:
        if study.person.is_junk:
            continue
        found: set[int] = set()
        for key in _keys(study):
            rows = behind.get(key, ())
            if len(rows) <= _BLOCK:
                found.update(rows)
        for row in sorted(found):
            yield study.index, row


def _keys(exam: Exam) -> Iterator[object]:
    for accession in exam.accessions:
        yield "a", accession.digits or accession.text
        yield "a", accession.text
    if exam.uid:
        yield "u", exam.uid
    for identifier in exam.person.ids:
        yield "p", identifier.digits or identifier.text
    if exam.person.birth_date is not None:
        for sound in exam.person.name.sounds:
            yield exam.person.birth_date, sound


class _Assignment:
    """Gives each study its orders, rule by rule."""

    def __init__(self, studies: Sequence[Exam], orders: Sequence[Exam], fits: Iterable[Fit], rules: SiteRules) -> None:
        self.studies, self.orders, self.rules = studies, orders, rules
        self.of_study: dict[int, list[Fit]] = defaultdict(list)
        self.of_order: dict[int, list[Fit]] = defaultdict(list)
        for fit in fits:
            self.of_study[fit.study].append(fit)
            self.of_order[fit.order].append(fit)
        self.taken: dict[int, list[tuple[Fit, str]]] = defaultdict(list)
        self.claimed: dict[int, list[int]] = defaultdict(list)
        self.doubtful: dict[int, str] = {}

    def links(self) -> list[Link]:
        """Run the rules and say what becomes of every study and every order."""
        self._by_number()
        self._contested()
        self._by_patient_and_date()
        self._days_apart()
        self._grouped_without_number()
        self._more_studies()
        found, proposed = self._more_orders()
        found += [self._link(Outcome.AUTO, rule, fit) for taken in self.taken.values() for fit, rule in taken]
        seen: set[int] = set(proposed)
        for study in self.studies:
            if not self.taken.get(study.index):
                found += self._for_people(study, seen)
        found += self._alone(seen)
        return found

    def _take(self, fit: Fit, rule: str) -> None:
        if rule in self.rules.disabled:
            self.doubtful[fit.study] = rule
            return
        self.taken[fit.study].append((fit, rule))
        self.claimed[fit.order].append(fit.study)

    def _by_number(self) -> None:
        """R1, R2, R3: the accession number or the UID says it, and everything else agrees."""
        for fits in self.of_study.values():
            known = any(f.comparison.accession is IdLevel.SAME and f.comparison.person is not PersonLevel.OTHER for f in fits)
            for fit in fits:
                rule = self._own_rule(fit) or number_rule(fit.comparison)
                if rule == "R3" and fit.comparison.accession is IdLevel.TYPO and (known or self._better(fit)):
                    continue
                if rule == "R2" and fit.comparison.accession is IdLevel.DIFFERENT and self._numbered_elsewhere(fit):
                    continue
                if rule in ("R1", "R2") or (rule and rule not in ("R5", "R8")):
                    self._take(fit, rule)

    def _numbered_elsewhere(self, fit: Fit) -> bool:
        """See whether the study's accession number stands at another order of its patient: then number and UID disagree."""
        return any(
            f.comparison.accession is IdLevel.SAME and f.comparison.person is not PersonLevel.OTHER
            for f in self.of_study[fit.study]
        )

    def _own_rule(self, fit: Fit) -> str:
        for own in self.rules.rules:
            if own.level is MatchLevel.EXAM and own.outcome is Outcome.AUTO and fit.comparison.person is not PersonLevel.OTHER:
                words = exam_words(fit.comparison)
                if all(words.get(field) in levels for field, levels in own.when.items()):
                    return own.name
        return ""

    def _better(self, fit: Fit) -> bool:
        """See whether another order of the study fits as well on everything but the accession number."""
        return any(
            other is not fit
            and other.comparison.person >= PersonLevel.LIKELY
            and other.comparison.fit >= fit.comparison.fit - _MARGIN
            and not (other.order in self.claimed and other.comparison.accession is IdLevel.DIFFERENT)
            for other in self.of_study[fit.study]
        )

    def _contested(self) -> None:
        """Find wrong worklist picks within one patient: two studies claim one order while another order of theirs lies idle."""
        for order, studies in list(self.claimed.items()):
            if len(set(studies)) < 2:
                continue
            for study in set(studies):
                mine = next(f for f, _ in self.taken[study] if f.order == order)
                idle = [
                    f
                    for f in self.of_study[study]
                    if f.order not in self.claimed
                    and f.comparison.person >= PersonLevel.LIKELY
                    and _plausible(f.comparison)
                    and f.comparison.fit > mine.comparison.fit - 0.5
                    and not any(
                        other.study != study and other.comparison.fit > f.comparison.fit and other.study not in self.taken
                        for other in self.of_order[f.order]
                    )
                ]
                if not idle or mine.comparison.uid == 1:
                    continue
                self.taken[study] = [(f, rule) for f, rule in self.taken[study] if f.order != order]
                self.claimed[order] = [s for s in self.claimed[order] if s != study]
                self.doubtful[study] = "R8"
                break

    def _by_patient_and_date(self) -> None:
        """R4: patient, date, modality and procedure; both sides must prefer each other clearly. The clearest go first."""
        waiting = {s for s in self.of_study if not self.taken.get(s)}
        while True:
            ready = []
            for study in waiting:
                best = self._preferred(study)
                if best is not None and self._preferred_study(best, waiting):
                    ready.append(best)
            if not ready:
                return
            for fit in sorted(ready, key=lambda f: (-f.comparison.fit, f.study)):
                if fit.order not in self.claimed and fit.study in waiting:
                    self._take(fit, "R4")
                    waiting.discard(fit.study)
            if not any(fit.order in self.claimed for fit in ready):
                return

    def _open(self, study: int) -> list[Fit]:
        return sorted(
            (
                f
                for f in self.of_study[study]
                if f.order not in self.claimed and f.comparison.person >= PersonLevel.LIKELY and _plausible(f.comparison)
            ),
            key=lambda f: (-f.comparison.fit, f.order),
        )

    def _preferred(self, study: int) -> Fit | None:
        open_fits = self._open(study)
        if not open_fits:
            return None
        best = open_fits[0]
        margin = 3.0 if study in self.doubtful else _MARGIN
        if len(open_fits) > 1 and best.comparison.fit - open_fits[1].comparison.fit < margin:
            return None
        return best if self._enough(best) else None

    def _enough(self, fit: Fit) -> bool:
        """An accession number that is not the order's own asks for more: the procedure must agree, not just not disagree."""
        c = fit.comparison
        positive = c.procedure >= ProcedureLevel.SIMILAR
        close = c.gap is not None and abs(c.gap) <= 120
        if c.accession in (IdLevel.DIFFERENT, IdLevel.TYPO):
            same = c.modality is ModalityLevel.SAME and c.person is PersonLevel.SAME
            return positive or (same and close and (c.accession is IdLevel.TYPO or self._picked_elsewhere(fit)))
        if c.person is PersonLevel.LIKELY:
            return positive or close
        return positive or c.modality is ModalityLevel.SAME

    def _picked_elsewhere(self, fit: Fit) -> bool:
        """See whether the study's number stands at another patient's order: a wrong worklist pick, which says nothing here."""
        return any(
            f.comparison.accession is IdLevel.SAME and f.comparison.person is PersonLevel.OTHER for f in self.of_study[fit.study]
        )

    def _preferred_study(self, fit: Fit, waiting: set[int]) -> bool:
        rivals = [
            f
            for f in self.of_order[fit.order]
            if f.study != fit.study
            and f.study in waiting
            and f.comparison.person >= PersonLevel.LIKELY
            and _plausible(f.comparison)
        ]
        return all(fit.comparison.fit - rival.comparison.fit >= _MARGIN for rival in rivals)

    def _days_apart(self) -> None:
        """R11: a number that is right with a date that is not: a wrong clock, or an exam put off."""
        for study, fits in self.of_study.items():
            if self.taken.get(study) or study in self.doubtful or self._open(study):
                continue
            near = [f for f in fits if f.comparison.accession is IdLevel.SAME and f.comparison.person is not PersonLevel.OTHER]
            if len(near) != 1:
                continue
            c = near[0].comparison
            agreed = (
                c.person is PersonLevel.SAME and c.modality >= ModalityLevel.GROUP and c.procedure is not ProcedureLevel.DIFFERENT
            )
            rivals = any(
                _plausible(f.comparison) and f.study != study
                for f in self.of_order[near[0].order]
                if f.comparison.person >= PersonLevel.LIKELY
            )
            if agreed and abs(c.days) <= 3 and c.date is DayLevel.NEAR and near[0].order not in self.claimed and not rivals:
                self._take(near[0], "R11")

    def _grouped_without_number(self) -> None:
        """R6, 1:N without an accession number: the study's text names the regions of several orders planned for one time."""
        for study, exam in enumerate(self.studies):
            if self.taken.get(study) or study in self.doubtful or exam.person.is_junk:
                continue
            fits = [
                f
                for f in self._open(study)
                if f.comparison.person is PersonLevel.SAME and f.comparison.accession is IdLevel.INCOMPARABLE
            ]
            named = [regions(self.orders[f.order].description) for f in fits]
            whole = frozenset().union(*named)
            planned = {self.orders[f.order].minutes for f in fits}
            alone = all(
                len([g for g in self.of_order[f.order] if _plausible(g.comparison) and not self.taken.get(g.study)]) == 1
                for f in fits
            )
            if (
                len(fits) > 1
                and all(named)
                and whole == regions(exam.description)
                and sum(map(len, named)) == len(whole)
                and len(planned) == 1
                and alone
            ):
                for fit in fits:
                    self._take(fit, "R6")

    def _more_studies(self) -> None:
        """R6, N:1: a study without a number of its own, next to another study of the same order."""
        for study, fits in self.of_study.items():
            if self.taken.get(study) or study in self.doubtful:
                continue
            near = [f for f in fits if f.order in self.claimed and self._beside(f)]
            if len({f.order for f in near}) == 1:
                self._take(near[0], "R6")

    def _beside(self, fit: Fit) -> bool:
        c = fit.comparison
        if c.person is not PersonLevel.SAME or c.date is not DayLevel.SAME or c.procedure < ProcedureLevel.SIMILAR:
            return False
        if c.accession is IdLevel.SAME:
            return True
        if c.accession is not IdLevel.INCOMPARABLE or c.modality < ModalityLevel.GROUP:
            return False
        mine = self.studies[fit.study].minutes
        others = [self.studies[s].minutes for s in self.claimed[fit.order]]
        return mine is not None and any(o is not None and abs(o - mine) <= self.rules.thresholds.group_minutes for o in others)

    def _more_orders(self) -> tuple[list[Link], set[int]]:
        """R6, 1:N: orders left over beside the order of a matched study: one acquisition that answers several of them."""
        found: list[Link] = []
        shown: set[int] = set()
        for order, fits in self.of_order.items():
            if self.claimed.get(order):
                continue
            beside = [
                f
                for f in fits
                if self.taken.get(f.study)
                and f.comparison.person is PersonLevel.SAME
                and f.comparison.date is DayLevel.SAME
                and f.comparison.modality >= ModalityLevel.GROUP
            ]
            if not beside:
                continue
            beside.sort(key=lambda f: (-f.comparison.fit, f.study))
            best = beside[0]
            clear = len(beside) == 1 or best.comparison.fit - beside[1].comparison.fit >= _MARGIN
            if clear and self._answers(best):
                self._take(best, "R6")
            elif self._scheduled_together(best):
                found.append(self._link(Outcome.REVIEW, "R6", best))
                shown.add(order)
        return found, shown

    def _answers(self, fit: Fit) -> bool:
        """See whether a study's description names the regions of this order and its own, both planned for one time."""
        mine = regions(self.orders[fit.order].description)
        study = regions(self.studies[fit.study].description)
        leads = [regions(self.orders[f.order].description) for f, _ in self.taken[fit.study]]
        named = bool(mine) and mine <= study and all(mine != lead for lead in leads)
        return named and self._scheduled_together(fit)

    def _scheduled_together(self, fit: Fit) -> bool:
        mine = self.orders[fit.order].minutes
        leads = [self.orders[f.order].minutes for f, _ in self.taken[fit.study]]
        if mine is None or any(lead is None for lead in leads):
            return fit.comparison.days == 0
        return any(lead is not None and abs(lead - mine) <= self.rules.thresholds.group_minutes for lead in leads)

    def _for_people(self, study: Exam, seen: set[int]) -> list[Link]:
        """Choose what a person sees of a study that no rule could match; say which orders were shown."""
        if study.person.is_junk:
            return [Link(Outcome.JUNK, "R10", 0.0, study.index, None, "test patient, phantom or junk")]
        shown: list[Link] = []
        for fit in sorted(self.of_study[study.index], key=lambda f: (-f.comparison.bits, f.order)):
            c = fit.comparison
            rule = number_rule(c)
            if rule == "R5":
                shown.append(self._link(Outcome.CONFLICT, "R5", fit))
            elif rule in ("R8", "R1", "R2", "R3") or (c.accession is IdLevel.SAME and c.person is PersonLevel.UNKNOWN):
                shown.append(self._link(Outcome.REVIEW, "R8" if c.person >= PersonLevel.LIKELY else "R9", fit))
            elif (
                c.person >= PersonLevel.LIKELY
                and c.modality is not ModalityLevel.DIFFERENT
                and c.date >= DayLevel.NEAR
                and (
                    c.accession is IdLevel.TYPO
                    or (
                        c.date is DayLevel.SAME
                        and c.procedure is not ProcedureLevel.DIFFERENT
                        and (fit.order not in self.claimed or c.procedure >= ProcedureLevel.SIMILAR)
                    )
                )
            ):
                shown.append(self._link(Outcome.REVIEW, "R9", fit))
        shown = shown[: self.rules.thresholds.candidates + 1]
        seen.update(link.right for link in shown if link.right is not None)
        return shown or [
            Link(Outcome.ORPHAN_PACS, "R7", 0.0, study.index, None, "no order in the RIS list belongs to this study")
        ]

    def _alone(self, seen: set[int]) -> list[Link]:
        found = []
        for order in self.orders:
            if order.person.is_junk:
                found.append(Link(Outcome.JUNK, "R10", 0.0, None, order.index, "test patient, phantom or junk"))
            elif not self.claimed.get(order.index) and order.index not in seen:
                found.append(
                    Link(Outcome.ORPHAN_RIS, "R7", 0.0, None, order.index, "no study in the PACS list belongs to this order")
                )
        return found

    def _link(self, outcome: Outcome, rule: str, fit: Fit) -> Link:
        note = ""
        if outcome is Outcome.AUTO and any(
            f.comparison.accession is IdLevel.SAME and f.comparison.person is PersonLevel.OTHER for f in self.of_study[fit.study]
        ):
            note = "the study's accession number also stands at another patient's order"
        return Link(outcome, rule, fit.score, fit.study, fit.order, explain_exams(fit.comparison, note))


def _plausible(c: ExamComparison) -> bool:
    return c.date is DayLevel.SAME and c.modality >= ModalityLevel.GROUP and c.procedure is not ProcedureLevel.DIFFERENT


def number_rule(c: ExamComparison) -> str:
    """Name the rule that a shared UID or accession number calls for; "" where there is none."""
    fitting = (
        c.date in (DayLevel.SAME, DayLevel.MISSING)
        and c.modality is not ModalityLevel.DIFFERENT
        and c.procedure is not ProcedureLevel.DIFFERENT
    )
    if c.uid == 1 and c.person >= PersonLevel.LIKELY and c.modality is not ModalityLevel.DIFFERENT:
        agreed = c.accession is not IdLevel.DIFFERENT or (c.person is PersonLevel.SAME and c.date is DayLevel.SAME and fitting)
        if agreed:
            return "R1" if c.accession is IdLevel.SAME and c.literal and fitting else "R2"
    if c.accession is IdLevel.SAME:
        if c.person is PersonLevel.OTHER:
            return "R5"
        if c.person is PersonLevel.UNKNOWN:
            return ""
        return ("R1" if c.literal else "R3") if fitting else "R8"
    if c.uid == 1:
        return "R5" if c.person is PersonLevel.OTHER else "R8"
    if (
        c.accession is IdLevel.TYPO
        and c.person is PersonLevel.SAME
        and fitting
        and c.date is DayLevel.SAME
        and c.modality >= ModalityLevel.GROUP
    ):
        return "R3"
    return ""


def exam_words(c: ExamComparison) -> Mapping[str, str]:
    """Spell the levels as site rules do."""
    return {
        "accession": c.accession.name.lower(),
        "study_uid": {1: "same", 0: "different", -1: "incomparable"}[c.uid],
        "person": c.person.name.lower(),
        "date": c.date.name.lower(),
        "modality": c.modality.name.lower(),
        "procedure": c.procedure.name.lower(),
    }
