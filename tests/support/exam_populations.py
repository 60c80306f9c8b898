"""Test populations for exam matching: studies and orders with known truth, from the two networks of ``populations``.

``riverside_exams`` is for tuning; ``harbour_exams`` is held out, with other rates, other descriptions and no station names.
"""

# ruff: noqa: E501 - tables of names
from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.support.populations import HARBOUR, RIVERSIDE, Habits, Human, Patients, _digit_typo, _World

_ENGLISH = {
    "CT": [("CT HEAD WO CONTRAST", "CT Brain"), ("CT CHEST", "CT Thorax with contrast"), ("CT ABDOMEN PELVIS", "CT Abdomen/Pelvis"), ("CT LUMBAR SPINE", "CT L-Spine")],
    "MR": [("MRI BRAIN", "MR Head"), ("MRI KNEE LEFT", "MR Knee LT"), ("MRI KNEE RIGHT", "MR Knee RT"), ("MRI LUMBAR SPINE", "MR Lumbar Spine")],
    "CR": [("XR CHEST 2 VIEWS", "Chest PA/LAT"), ("XR HAND LEFT", "Hand left"), ("XR HAND RIGHT", "Hand right"), ("XR FOOT", "Foot 3 views"), ("XR PELVIS", "Pelvis AP")],
    "US": [("US ABDOMEN COMPLETE", "Abdomen"), ("US THYROID", "Thyroid gland"), ("US RENAL", "Kidneys")],
    "MG": [("MAMMOGRAPHY BILATERAL", "Mammo screening")],
}  # fmt: skip
_FOREIGN = {
    "CT": [("TAC CRANEO SIN CONTRASTE", "CRANEO"), ("TAC TORAX", "Torax"), ("CT ABDOMEN", "ABD+PELVIS")],
    "MR": [("RM RODILLA IZQUIERDA", "RODILLA IZQ"), ("RM CEREBRO", "NEURO CEREBRO"), ("RM COLUMNA LUMBAR", "COL LUMBAR")],
    "DX": [("RX TORAX PA", "TORAX"), ("RX MANO DERECHA", "MANO"), ("RX CADERA", "CADERA AP"), ("RX PIE", "PIE")],
    "US": [("ECO ABDOMEN", "ABDOMEN"), ("ECO TIROIDES", "TIROIDES")],
    "NM": [("GAMMAGRAFIA OSEA", "BONE SCAN")],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExamHabits:
    """Rates of what goes wrong between order and study."""

    people: Habits
    procedures: dict[str, list[tuple[str, str]]]
    no_accession: float = 0.05
    prefix_lost: float = 0.03
    padded: float = 0.02
    wrong_pick: float = 0.015
    own_wrong_pick: float = 0.004
    typo: float = 0.015
    id_padded: float = 0.04
    id_missing: float = 0.005
    other_modality: float = 0.1
    described: float = 0.9
    grouped: float = 0.03
    split: float = 0.03
    both: float = 0.005
    orphan_study: float = 0.02
    orphan_order: float = 0.03
    two_sites: float = 0.3
    uid_known: float = 0.0
    stations: bool = True


RIVERSIDE_EXAMS = ExamHabits(RIVERSIDE, _ENGLISH)
HARBOUR_EXAMS = ExamHabits(
    HARBOUR, _FOREIGN, no_accession=0.07, prefix_lost=0.05, wrong_pick=0.02, own_wrong_pick=0.005, typo=0.02, id_padded=0.08, id_missing=0.01, other_modality=0.25,
    described=0.8, grouped=0.02, split=0.04, both=0.008, orphan_study=0.03, orphan_order=0.02, two_sites=0.5, uid_known=0.2, stations=False,
)  # fmt: skip


class _Department:
    def __init__(self, habits: ExamHabits, seed: int, count: int) -> None:
        self.habits = habits
        self.world = _World(habits.people, seed, 1_500)
        self.rng: random.Random = self.world.rng
        self.found = Patients()
        self.numbers = {"S1": 100_000, "S2": 100_000}
        self.count = count

    def accession(self, site: str) -> str:
        self.numbers[site] += self.rng.choice((1, 1, 2, 3))
        return f"A{self.numbers[site]}"

    def order(self, human: Human, site: str, modality: str, text: str, when: datetime) -> dict[str, str]:
        row = self.world.written(human, f"o{len(self.found.ris)}", careful=True, with_ids=True)
        row |= {"AccessionNumber": self.accession(site), "IssuerOfAccessionNumber": site, "StudyDate": when.strftime("%Y%m%d"), "StudyTime": when.strftime("%H%M%S"),
                "Modality": modality, "StudyDescription": text}  # fmt: skip
        if self.rng.random() < self.habits.uid_known:
            row["StudyInstanceUID"] = f"1.2.826.1.{len(self.found.ris) + 1}"
        self.found.ris.append(row)
        return row

    def study(self, human: Human, order: dict[str, str], texts: str, when: datetime, truth: set[str]) -> dict[str, str]:
        rng, h = self.rng, self.habits
        row = self.world.written(human, f"s{len(self.found.pacs)}", careful=False, with_ids=False)
        row["PatientID"] = human.mrn if rng.random() > h.id_padded else human.mrn.lstrip("0")
        if rng.random() < h.id_missing:
            row["PatientID"] = ""
        modality = order["Modality"]
        if modality in ("CR", "DX") and rng.random() < h.other_modality:
            modality = "DX" if modality == "CR" else "CR"
        number, draw = order["AccessionNumber"], rng.random()
        if draw < h.no_accession:
            number = ""
        elif draw < h.no_accession + h.prefix_lost:
            number = number.lstrip("A")
        elif draw < h.no_accession + h.prefix_lost + h.padded:
            number = number.replace("A", "A000")
        elif draw < h.no_accession + h.prefix_lost + h.padded + h.typo:
            number = _digit_typo(rng, number)
        row |= {"AccessionNumber": number, "IssuerOfAccessionNumber": order["IssuerOfAccessionNumber"] if rng.random() < 0.3 else "",
                "StudyInstanceUID": order.get("StudyInstanceUID", f"1.2.826.2.{len(self.found.pacs)}"), "StudyDate": when.strftime("%Y%m%d"),
                "StudyTime": when.strftime("%H%M%S"), "Modality": modality, "StudyDescription": texts if rng.random() < h.described else ""}  # fmt: skip
        if h.stations:
            row["StationName"] = f"{modality}{rng.randrange(3)}"
            if row["StationName"] == "CT2":
                late = when + timedelta(hours=31)
                row["StudyDate"], row["StudyTime"] = late.strftime("%Y%m%d"), late.strftime("%H%M%S")
        self.found.pacs.append(row)
        self.found.truth[row["key"]] = truth
        return row

    def fill(self) -> Patients:
        rng, h = self.rng, self.habits
        people = self.world.people(max(self.count // 2, 10))
        start = datetime(2022, 1, 3, 6)
        while len(self.found.pacs) < self.count:
            human = rng.choice(people)
            site = "S2" if rng.random() < h.two_sites else "S1"
            modality = rng.choice(list(h.procedures))
            asked, shown = rng.choice(h.procedures[modality])
            when = start + timedelta(minutes=rng.randrange(60 * 24 * 500))
            done = when + timedelta(minutes=int(abs(rng.gauss(0, 90))))
            draw = rng.random()
            if draw < h.orphan_order:
                self.order(human, site, modality, asked, when)
                continue
            order = self.order(human, site, modality, asked, when)
            if draw < h.orphan_order + h.orphan_study:
                self.found.ris.pop()
                self.study(human, order, shown, done, set())
                continue
            draw = rng.random()
            keys = {order["key"]}
            if draw < h.grouped + h.both and len(h.procedures[modality]) > 1:
                other, other_shown = rng.choice([p for p in h.procedures[modality] if p[0] != asked])
                keys.add(self.order(human, site, modality, other, when)["key"])
                shown = f"{shown} + {other_shown}"
            self.study(human, order, shown, done, set(keys))
            if h.grouped < draw < h.grouped + h.both + h.split:
                self.study(human, order, shown, done + timedelta(minutes=rng.randrange(5, 50)), set(keys))
        self._wrong_picks()
        rng.shuffle(self.found.pacs)
        rng.shuffle(self.found.ris)
        return self.found

    def _wrong_picks(self) -> None:
        rng, h = self.rng, self.habits
        of_person: dict[str, list[dict[str, str]]] = {}
        for row in self.found.ris:
            of_person.setdefault(row["PatientID"], []).append(row)
        for row in self.found.pacs:
            draw = rng.random()
            if draw < h.wrong_pick:
                row["AccessionNumber"] = rng.choice(self.found.ris)["AccessionNumber"]
            elif draw < h.wrong_pick + h.own_wrong_pick:
                row["AccessionNumber"] = rng.choice(of_person.get(row["PatientID"].zfill(8), self.found.ris))["AccessionNumber"]


def riverside_exams(count: int, seed: int = 1) -> Patients:
    """Draw studies and orders of the network that the rules were tuned on."""
    return _Department(RIVERSIDE_EXAMS, seed, count).fill()


def harbour_exams(count: int, seed: int = 1) -> Patients:
    """Draw studies and orders of the network that is held out."""
    return _Department(HARBOUR_EXAMS, seed, count).fill()
