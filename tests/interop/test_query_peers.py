"""What our index answers to common questions is what Orthanc and dcmqrscp answer about the same images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.catalogue import Catalogue
from indexer.scan import scan_file
from indexer.table import Table
from tests.conftest import TRUNCATED, LoadedDatabase
from tests.support.instances import real_images
from tests.support.peers import OrthancPeer, dcmqrscp
from vna.dimse.find import find
from vna.model import Local, Node
from vna.query import Level, ask, question
from vna.query.attributes import UNIQUE_KEYS

pytestmark = pytest.mark.interop

CT_STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
QUESTIONS: list[tuple[str, dict[str, str]]] = [
    ("STUDY", {}),
    ("STUDY", {"StudyInstanceUID": CT_STUDY}),
    ("STUDY", {"StudyInstanceUID": f"{CT_STUDY}\\1.3.6.1.4.1.5962.1.2.4.20040826185059.5457\\1.2.3"}),
    ("STUDY", {"PatientID": "1CT1"}),
    ("STUDY", {"PatientID": "?MR?"}),
    ("STUDY", {"PatientID": "*CT*"}),
    ("STUDY", {"PatientID": "nobody"}),
    ("STUDY", {"PatientName": "CompressedSamples^*"}),
    ("STUDY", {"PatientName": "*Samples^?T1"}),
    ("STUDY", {"StudyDate": "20040101-20041231"}),
    ("STUDY", {"StudyDate": "20040119"}),
    ("STUDY", {"StudyDate": "-20031231"}),
    ("STUDY", {"StudyDate": "20100101-"}),
    ("STUDY", {"StudyTime": "060000-120000"}),
    ("STUDY", {"AccessionNumber": "*1*"}),
    ("STUDY", {"StudyDescription": "e+1"}),
    ("STUDY", {"PatientSex": "F"}),
    ("SERIES", {"StudyInstanceUID": CT_STUDY}),
    ("SERIES", {"StudyInstanceUID": CT_STUDY, "Modality": "CT"}),
    ("SERIES", {"StudyInstanceUID": CT_STUDY, "Modality": "MR"}),
    ("SERIES", {"StudyInstanceUID": CT_STUDY, "SeriesNumber": "1"}),
]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    folder = tmp_path_factory.mktemp("index")
    paths = [path for path in real_images() if path.name not in TRUNCATED]
    rows = [{**scan_file(path).row(), "path": str(path), "sha256": f"{at:064x}"} for at, path in enumerate(paths)]
    Table.create(folder / "instances").append(rows, "scan", 1)
    with Catalogue.open(folder / "instances") as opened:
        yield opened


def comparable(catalogue: Catalogue, held: set[str]) -> set[str]:
    """Name the studies that the peer has all of, and no UID twice: of two objects under one each peer keeps another."""
    instances = ask(catalogue, question(Level.IMAGE, {}))
    rows = catalogue.query(
        "SELECT SOPInstanceUID AS uid FROM (" + catalogue.instances(None) + ") WHERE SOPInstanceUID IS NOT NULL"
    )
    times = Counter(row["uid"] for row in rows)
    whole = {row["StudyInstanceUID"] for row in instances}
    return whole - {
        row["StudyInstanceUID"] for row in instances if times[row["SOPInstanceUID"]] > 1 or row["SOPInstanceUID"] not in held
    }


def compare(catalogue: Catalogue, peer: Node, held: set[str]) -> list[str]:
    studies = comparable(catalogue, held)
    assert len(studies) > 20
    local = Local(ae_title="VNA", host="127.0.0.1", port=11112)
    different = []
    for level, keys in QUESTIONS:
        unique = UNIQUE_KEYS[Level(level)]
        asked = {unique: "", "StudyInstanceUID": "", **keys}
        found = list(find(peer, local, level, asked))
        if "-" in keys.get("StudyDate", ""):  # Orthanc takes no date for one before all others
            found = [match for match in found if match["StudyDate"]]
        theirs: Any = {(match.get("StudyInstanceUID") or asked["StudyInstanceUID"], match[unique]) for match in found}
        ours = {(row["StudyInstanceUID"], row[unique]) for row in ask(catalogue, question(Level(level), keys))}
        if {pair for pair in ours ^ theirs if pair[0] in studies}:
            different.append(f"{level} {keys}: ours only {len(ours - theirs)}, theirs only {len(theirs - ours)}")
    return different


def test_orthanc_finds_the_same(catalogue: Catalogue, loaded_orthanc: OrthancPeer) -> None:
    assert compare(catalogue, loaded_orthanc.node(), loaded_orthanc.sop_instance_uids()) == []


def test_dcmqrscp_finds_the_same(catalogue: Catalogue, loaded_database: LoadedDatabase, tmp_path: Path) -> None:
    with dcmqrscp(tmp_path, database=loaded_database.path) as peer:
        assert compare(catalogue, peer.node(), loaded_database.sop_instance_uids) == []
