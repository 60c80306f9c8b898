"""What an exam is of: modality groups, body regions in the words of several languages, and descriptions that belong together.

PACS and RIS rarely call one procedure by one name. Three things bring them together: the site's procedure map, the regions that
both texts name, and what the list itself teaches: descriptions that stand together where accession number and patient agree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise

from vna.reconcile.names import fold

_REGIONS = """
HEAD: HEAD BRAIN SKULL CRANIUM CRANIAL CEREBRAL KOPF SCHADEL HIRN TETE CRANE CRANEO CABEZA CEREBRO TESTA NEURO CCT HERSENEN
SINUS: SINUS SINUSES NNH PARANASAL
FACE: FACE FACIAL ORBIT ORBITS ORBITA MANDIBLE DENTAL OPG PANORAMIC ZAHN JAW TMJ
NECK: NECK HALS COU CUELLO THYROID SCHILDDRUSE TIROIDES CAROTID CAROTIS SOFT-NECK
CHEST: CHEST THORAX LUNG LUNGS PULMONARY THORACIC TORAX THX CXR RIBS RIPPEN LUNGE POUMON PULMON STERNUM
HEART: HEART CARDIAC HERZ CORONARY KORONAR COEUR CORAZON ECHO TTE TEE ECHOCARDIOGRAPHY
ABDOMEN: ABDOMEN ABDOMINAL ABD LIVER LEBER GALLBLADDER KIDNEY KIDNEYS RENAL NIERE BAUCH BOWEL PANCREAS SPLEEN FOIE HIGADO KUB
ABDOMEN: UROGRAPHY MRCP
PELVIS: PELVIS PELVIC BECKEN PROSTATE PROSTATA BLADDER UTERUS BASSIN SACRUM SI OBSTETRIC FETAL BEKKEN
CSPINE: CSPINE CERVICAL HWS HALSWIRBEL
TSPINE: TSPINE DORSAL BWS
LSPINE: LSPINE LUMBAR LWS LUMBOSACRAL LENDEN
SPINE: SPINE WIRBELSAULE RACHIS COLUMNA WS
SHOULDER: SHOULDER SCHULTER EPAULE HOMBRO CLAVICLE SCAPULA
ARM: ARM HUMERUS ELBOW ELLENBOGEN FOREARM RADIUS ULNA COUDE CODO
WRIST: WRIST HANDGELENK POIGNET MUNECA SCAPHOID
HAND: HAND FINGER FINGERS THUMB MAIN MANO
HIP: HIP HIPS HUFTE HANCHE CADERA HEUP
LEG: LEG FEMUR THIGH TIBIA FIBULA CALF OBERSCHENKEL UNTERSCHENKEL
KNEE: KNEE KNEES KNIE GENOU RODILLA PATELLA
ANKLE: ANKLE SPRUNGGELENK OSG CHEVILLE TOBILLO
FOOT: FOOT FEET FUSS PIED TOE TOES CALCANEUS HEEL VOET
BREAST: BREAST BREASTS MAMMO MAMMOGRAPHY MAMMOGRAPHIE MAMMA SEIN MAMA TOMOSYNTHESIS
VESSELS: ANGIO ANGIOGRAPHY AORTA VENOUS DOPPLER DVT VEINS RUNOFF
WHOLE: WHOLEBODY GANZKORPER SKELETON SKELETAL BONESCAN
BONE: BMD DXA DEXA OSTEODENSITOMETRY
"""
_CONCEPT = {word: line.split(":")[0] for line in _REGIONS.strip().splitlines() for word in line.split(":")[1].split()}
_LEFT = "LEFT LT LI LINKS L GAUCHE IZQUIERDA IZQUIERDO IZQ SIN"
_RIGHT = "RIGHT RT RE RECHTS R DROITE DROIT DERECHA DERECHO DER DEX"
_SIDES = dict.fromkeys(_LEFT.split(), "L") | dict.fromkeys(_RIGHT.split(), "R")
_IDLE = frozenset(
    [
        "CT",
        "MR",
        "MRI",
        "US",
        "XR",
        "CR",
        "DX",
        "NM",
        "PT",
        "MG",
        "XA",
        "RF",
        "WITH",
        "WITHOUT",
        "W",
        "WO",
        "CONTRAST",
        "KM",
        "IV",
        "PO",
        "AND",
        "OR",
        "OF",
        "THE",
        "PA",
        "AP",
        "LAT",
        "LATERAL",
        "VIEW",
        "VIEWS",
        "1",
        "2",
        "3",
        "4",
        "V",
        "STUDY",
        "EXAM",
        "ROUTINE",
        "SCAN",
        "MIT",
        "OHNE",
        "ET",
        "AVEC",
        "SANS",
        "CON",
        "SIN",
        "C",
        "NATIV",
        "PLAIN",
        "SERIES",
        "LIMITED",
        "COMPLETE",
        "MIN",
        "XRAY",
        "X",
        "RAY",
        "FILM",
        "ULTRASOUND",
        "SONO",
        "MRT",
        "PET",
    ]
)
_WORD = re.compile(r"[^\W_]+")
NEUTRAL = frozenset(("SR", "PR", "KO", "DOC", "SC", "OT", "REG", "AU", "SEG", "RTSTRUCT", "PLAN", "OTHER", ""))
"""Modalities that accompany any exam; they neither speak for an order nor against it."""


class ProcedureLevel(IntEnum):
    """How well two descriptions agree."""

    MISSING = -1
    DIFFERENT = 0
    SIMILAR = 1
    SAME = 2


class ModalityLevel(IntEnum):
    """How well modalities agree."""

    MISSING = -1
    DIFFERENT = 0
    GROUP = 1
    SAME = 2


@lru_cache(maxsize=100_000)
def _understood(text: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Give the regions, the sides and the other words of a description."""
    words = _WORD.findall(fold(text).replace("C-SPINE", "CSPINE").replace("T-SPINE", "TSPINE").replace("L-SPINE", "LSPINE"))
    joined = {a + b for a, b in pairwise(words)} & set(_CONCEPT)
    regions = {_CONCEPT[word] for word in (*words, *joined) if word in _CONCEPT}
    if ("SPINE" in regions and len(regions & {"CSPINE", "TSPINE", "LSPINE"})) or (
        "SPINE" in regions and "CHEST" in regions and "THORACIC" in words
    ):
        regions.discard("SPINE")
        if "THORACIC" in words:
            regions.discard("CHEST")
            regions.add("TSPINE")
    sides = {_SIDES[word] for word in words if word in _SIDES}
    rest = {word for word in words if word not in _IDLE and word not in _SIDES}
    return frozenset(regions), frozenset(sides), frozenset(rest)


def regions(text: str) -> frozenset[str]:
    """Give the body regions that a description names."""
    return _understood(text)[0]


def compare_modalities(left: frozenset[str], right: frozenset[str], groups: Iterable[Iterable[str]]) -> ModalityLevel:
    """Compare two sets of modalities; one group of the site's (or of the built-in) list counts as agreement."""
    a, b = left - NEUTRAL, right - NEUTRAL
    if not a or not b:
        return ModalityLevel.MISSING
    if a & b:
        return ModalityLevel.SAME
    return (
        ModalityLevel.GROUP
        if any(a.intersection(group) and b.intersection(group) for group in groups)
        else ModalityLevel.DIFFERENT
    )


class Procedures:
    """Compares descriptions by the site's map, by what was learned, and by the regions they name."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self._map = {fold(key).strip(): fold(value).strip() for key, value in mapping.items()}
        self._together: Counter[tuple[str, str]] = Counter()
        self._seen: Counter[str] = Counter()

    def learn(self, pacs: str, ris: str) -> None:
        """Note that two descriptions stand together where accession number and patient agree."""
        a, b = self._plain(pacs), self._plain(ris)
        if a and b:
            self._together[a, b] += 1
            self._seen[a] += 1

    def _plain(self, text: str) -> str:
        folded = fold(text).strip()
        return self._map.get(folded, folded)

    def compare(self, pacs: str, ris: str) -> ProcedureLevel:
        """Compare two descriptions."""
        a, b = self._plain(pacs), self._plain(ris)
        if not a or not b:
            return ProcedureLevel.MISSING
        if a == b:
            return ProcedureLevel.SAME
        (ra, sa, wa), (rb, sb, wb) = _understood(a), _understood(b)
        if sa and sb and not sa & sb:
            return ProcedureLevel.DIFFERENT
        seen, together = self._seen[a], self._together[a, b]
        if together >= 3 and together >= 0.1 * seen:
            return ProcedureLevel.SAME
        if ra and rb:
            if ra == rb:
                return ProcedureLevel.SAME
            return ProcedureLevel.SIMILAR if ra & rb else ProcedureLevel.DIFFERENT
        if wa & wb:
            return ProcedureLevel.SIMILAR
        return ProcedureLevel.DIFFERENT if seen >= 20 and together == 0 else ProcedureLevel.MISSING
