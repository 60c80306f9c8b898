"""The same questions to Orthanc and dcmqrscp by C-FIND, with as many studies as they can hold or be loaded with in minutes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.scale_lookups import LOOKUPS, Keys, Study, Timed, timed
from tests.support.instances import make_instance, make_uid, write_instance
from tests.support.peers import Peer, dcmqrscp, load, orthanc
from vna.dimse.find import Finder
from vna.model import Local

_ASKED = {
    "STUDY": ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "StudyTime", "AccessionNumber", "StudyDescription"),
    "IMAGE": ("SOPInstanceUID", "InstanceNumber", "SOPClassUID"),
}


def write_studies(folder: Path, studies: Sequence[Study]) -> list[Path]:
    """Write one small instance for each study."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, study in enumerate(studies):
        ds = make_instance(
            SpecificCharacterSet="ISO_IR 192",
            StudyInstanceUID=study["StudyInstanceUID"],
            SeriesInstanceUID=make_uid("series", study["StudyInstanceUID"]),
            SOPInstanceUID=make_uid("instance", study["StudyInstanceUID"]),
            PatientID=study["PatientID"],
            PatientName=f"{study['PatientName']}^{study['GivenName']}",
            AccessionNumber=study["AccessionNumber"],
            StudyDate=study["StudyDate"],
        )
        paths.append(write_instance(folder / f"{number}.dcm", ds))
    return paths


DCMQRSCP_STUDIES = 500
"""DCMTK allows no more in one storage area."""


@contextmanager
def peers(folder: Path, paths: Sequence[Path]) -> Iterator[dict[str, tuple[Peer, int]]]:
    """Run both with these files, dcmqrscp with the first of them; gives each with the number that it holds."""
    with orthanc(folder / "orthanc") as first, dcmqrscp(folder / "dcmqrscp", accept_all=True) as second:
        held = {"orthanc": (first, len(paths)), "dcmqrscp": (second, min(len(paths), DCMQRSCP_STUDIES))}
        for peer, number in held.values():
            load(peer, paths[:number])
        yield held


def look_up(peer: Peer, studies: Sequence[Study]) -> dict[str, Timed]:
    """Time every kind of look-up over one association; an instance is asked for by its series as well, as C-FIND must."""
    with Finder(peer.node(), Local(ae_title="VNA", host="127.0.0.1", port=11112)) as find:

        def lookup(keys: Keys) -> int:
            level, asked = keys
            if level == "IMAGE":
                asked = asked | {"SeriesInstanceUID": make_uid("series", asked["StudyInstanceUID"])}
            return sum(1 for _ in find(level, dict.fromkeys(_ASKED[level], "") | asked))

        found = {name: timed(lookup, [keys(study) for study in studies]) for name, keys in LOOKUPS.items()}
    assert found["Study UID"].answers == len(studies), "the peer does not hold what it was loaded with"
    return found
