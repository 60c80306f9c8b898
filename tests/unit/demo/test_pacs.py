"""The embedded PACS keeps its word to DCMTK, and breaks it exactly as its faults say."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless

from tests.support.instances import (
    CT_IMAGE_STORAGE,
    data_set_bytes,
    data_set_of,
    make_instance,
    make_study,
    real_image,
    write_instance,
)
from tests.support.peers import free_port, load, require_peer, storescp
from vna.demo.faults import NO_FAULTS, Faults
from vna.demo.pacs import EmbeddedPacs


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A storescp that the module's PACS moves to: where it writes, and its port."""
    with storescp(tmp_path_factory.mktemp("receiver"), ae_title="REF") as peer:
        yield peer.received, peer.port


@pytest.fixture(scope="module")
def server(receiver: tuple[Path, int]) -> Iterator[EmbeddedPacs]:
    require_peer("dcmtk")
    with EmbeddedPacs("LEGACY", destinations={"REF": ("127.0.0.1", receiver[1]), "DEAF": ("127.0.0.1", free_port())}) as pacs:
        for ds in [*make_study(4), *make_study(2, PatientID="P2", StudyDate="")]:
            pacs.add(str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.file_meta.TransferSyntaxUID), data_set_bytes(ds))
        yield pacs


@pytest.fixture
def pacs(server: EmbeddedPacs, receiver: tuple[Path, int]) -> Iterator[EmbeddedPacs]:
    for path in receiver[0].iterdir():
        path.unlink()
    server.requests.clear()
    yield server
    server.faults = NO_FAULTS


STUDY = str(make_study(1)[0].StudyInstanceUID)
UIDS = [str(ds.SOPInstanceUID) for ds in make_study(4)]


def _dcmtk(tool: str, pacs: EmbeddedPacs, *keys: str, args: tuple[str, ...] = (), called: str = "") -> str:
    command = [
        tool,
        "-v",
        *(() if "-P" in args else ("-S",)),
        "-aet",
        "SCU",
        "-aec",
        called or pacs.ae_title,
        *args,
        pacs.host,
        str(pacs.port),
    ]
    for key in keys:
        command += ["-k", key]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    return done.stdout + done.stderr


def _find(pacs: EmbeddedPacs, *keys: str) -> tuple[int, str]:
    """Return how many studies findscu was told of, and what it said."""
    output = _dcmtk("findscu", pacs, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", *keys)
    return output.count("(Pending)"), output


def _move(pacs: EmbeddedPacs, destination: str = "REF", *keys: str) -> str:
    output = _dcmtk("movescu", pacs, "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}", *keys, args=("-aem", destination))
    return next((line for line in output.splitlines() if "Final Move Response" in line), output)


def _received(receiver: tuple[Path, int]) -> list[bytes]:
    return sorted(data_set_of(path) for path in receiver[0].iterdir())


def test_a_study_query_finds_every_study_and_its_counts(pacs: EmbeddedPacs) -> None:
    count, output = _find(pacs, "NumberOfStudyRelatedInstances", "PatientName=test*")
    assert count == 2
    assert "[4 ]" in output
    assert "[2 ]" in output


def test_a_date_range_does_not_find_the_study_without_a_date(pacs: EmbeddedPacs) -> None:
    assert _find(pacs, "StudyDate=19000101-29991231")[0] == 1


def test_an_image_query_without_its_series_is_refused(pacs: EmbeddedPacs) -> None:
    output = _dcmtk("findscu", pacs, "QueryRetrieveLevel=IMAGE", "SOPInstanceUID", f"StudyInstanceUID={STUDY}")
    assert "DataSetDoesNotMatchSOPClass" in output


def test_patients_are_found_by_the_patient_root_model(pacs: EmbeddedPacs) -> None:
    output = _dcmtk("findscu", pacs, "QueryRetrieveLevel=PATIENT", "PatientID", "NumberOfPatientRelatedInstances", args=("-P",))
    assert output.count("(Pending)") == 2
    assert "[P2]" in output


def test_a_query_that_is_cancelled_ends(pacs: EmbeddedPacs) -> None:
    pacs.faults = Faults(find_duplicates=True, delay_s=0.2)
    output = _dcmtk("findscu", pacs, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", args=("--cancel", "1"))
    assert "Cancel" in output
    assert output.count("(Pending)") < 4


def test_a_move_sends_the_exact_data_sets(pacs: EmbeddedPacs, receiver: tuple[Path, int]) -> None:
    assert "Success" in _move(pacs)
    assert _received(receiver) == sorted(data_set_bytes(ds) for ds in make_study(4))
    assert [request.service for request in pacs.requests] == ["C-MOVE"]


def test_a_get_sends_the_exact_data_sets(pacs: EmbeddedPacs, tmp_path: Path) -> None:
    output = _dcmtk("getscu", pacs, "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}", args=("+B", "-od", str(tmp_path)))
    assert "Number of Completed Suboperations : 4" in output
    assert len(list(tmp_path.iterdir())) == 4


def test_a_move_to_a_stranger_is_a801(pacs: EmbeddedPacs) -> None:
    assert "MoveDestinationUnknown" in _move(pacs, "NOBODY")


def test_a_move_to_a_destination_that_does_not_listen_fails_whole(pacs: EmbeddedPacs) -> None:
    assert "OutOfResourcesSubOperations" in _move(pacs, "DEAF")


def test_answers_stop_silently_at_the_cap(pacs: EmbeddedPacs) -> None:
    pacs.faults = Faults(find_cap=1)
    count, output = _find(pacs)
    assert count == 1
    assert "Final Find Response (Success)" in output


def test_a_query_above_the_limit_is_refused_without_answers(pacs: EmbeddedPacs) -> None:
    pacs.faults = Faults(find_refuses_above=1)
    count, output = _find(pacs)
    assert count == 0
    assert "OutOfResources" in output


def test_every_study_is_answered_twice(pacs: EmbeddedPacs) -> None:
    pacs.faults = Faults(find_duplicates=True)
    assert _find(pacs)[0] == 4


def test_the_association_is_aborted_in_the_middle_of_the_answers(pacs: EmbeddedPacs) -> None:
    pacs.faults = Faults(find_aborts_after=1)
    count, output = _find(pacs)
    assert count == 1
    assert "Abort" in output


def test_study_counts_are_wrong(pacs: EmbeddedPacs) -> None:
    pacs.faults = Faults(study_counts_off_by=3)
    assert "[7 ]" in _find(pacs, "NumberOfStudyRelatedInstances")[1]


def test_a_hidden_study_is_not_found_but_can_be_moved(pacs: EmbeddedPacs, receiver: tuple[Path, int]) -> None:
    pacs.faults = Faults(find_hides=frozenset(UIDS))
    assert _find(pacs)[0] == 1
    assert "Success" in _move(pacs)
    assert len(_received(receiver)) == 4


@pytest.mark.parametrize(
    ("faults", "arrived", "final"),
    [
        (Faults(retrieve_sends_nothing=True), 0, "Success"),
        (Faults(retrieve_drops_every=2), 2, "Success"),
        (Faults(retrieve_fails_every=2), 2, "SubOperationsCompleteOneOrMoreFailures"),
        (Faults(retrieve_sends_extra=True), 5, "Success"),
        (Faults(retrieve_sends_twice=True), 8, "Success"),
        (Faults(retrieve_counts_nothing=True), 4, "Success"),
        (Faults(retrieve_aborts_after=2), 2, "Abort"),
    ],
)
def test_a_move_goes_wrong_as_told(
    pacs: EmbeddedPacs, receiver: tuple[Path, int], faults: Faults, arrived: int, final: str
) -> None:
    pacs.faults = faults
    assert final in _move(pacs)
    assert len(_received(receiver)) == arrived


def test_a_move_may_send_other_bytes_under_the_same_uid(pacs: EmbeddedPacs, receiver: tuple[Path, int]) -> None:
    pacs.faults = Faults(retrieve_alters=True)
    _move(pacs)
    originals = [data_set_bytes(ds) for ds in make_study(4)]
    received = _received(receiver)
    assert {data_set[:-1] for data_set in received} == {data_set[:-1] for data_set in originals}
    assert not set(received) & set(originals)


def test_a_move_may_send_under_new_uids(pacs: EmbeddedPacs, receiver: tuple[Path, int]) -> None:
    pacs.faults = Faults(retrieve_new_uids=True)
    _move(pacs)
    received = _received(receiver)
    assert len(received) == 4
    assert not any(uid.encode() in data_set for uid in UIDS for data_set in received)


def test_the_final_response_may_come_before_the_images(receiver: tuple[Path, int]) -> None:
    with EmbeddedPacs(
        "LATE", destinations={"REF": ("127.0.0.1", receiver[1])}, faults=Faults(retrieve_answers_first=True)
    ) as pacs:
        for ds in make_study(4, PatientID="P9"):
            pacs.add(str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.file_meta.TransferSyntaxUID), data_set_bytes(ds))
        pacs.faults = Faults(retrieve_answers_first=True, delay_s=0.1)
        study = str(make_study(1, PatientID="P9")[0].StudyInstanceUID)
        before = len(_received(receiver))
        output = _dcmtk("movescu", pacs, "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}", args=("-aem", "REF"))
        assert "Final Move Response (Success)" in output
        assert len(_received(receiver)) < before + 4
    assert len(_received(receiver)) == before + 4  # stopping waits for what is under way


def test_an_unknown_sop_class_and_every_transfer_syntax_are_stored_bit_by_bit(tmp_path: Path) -> None:
    private = write_instance(
        tmp_path / "private.dcm", make_instance(SOPClassUID="1.2.826.0.1.3680043.9.9999.1", InstanceNumber=2)
    )
    paths = [private, real_image("MR_small_bigendian.dcm"), real_image("image_dfl.dcm"), real_image("JPEG2000.dcm")]
    with EmbeddedPacs() as pacs:
        assert [sent.status for sent in load(pacs.node("pacs"), paths)] == [0, 0, 0, 0]
        assert len(pacs.objects()) == 4


def test_refused_classes_and_syntaxes_are_rejected_in_negotiation(tmp_path: Path) -> None:
    paths = [
        write_instance(tmp_path / f"{n}.dcm", ds)
        for n, ds in enumerate(
            [make_instance(), make_instance(JPEG2000Lossless, InstanceNumber=2), make_instance(InstanceNumber=3)]
        )
    ]
    with EmbeddedPacs(refuses=[JPEG2000Lossless]) as pacs:
        assert [sent.reason for sent in load(pacs.node("pacs"), paths)] == ["", "presentation context rejected", ""]
    with EmbeddedPacs(refuses=[CT_IMAGE_STORAGE]) as pacs:
        assert {sent.reason for sent in load(pacs.node("pacs"), paths)} == {"presentation context rejected"}


def test_the_first_object_of_a_uid_stays_unless_the_pacs_overwrites(tmp_path: Path) -> None:
    paths = [write_instance(tmp_path / f"{name}.dcm", make_instance(StudyDescription=name)) for name in ("first", "second")]
    for overwrites, kept in ((True, b"second"), (False, b"first")):
        with EmbeddedPacs(overwrites=overwrites) as pacs:
            assert [sent.status for sent in load(pacs.node("pacs"), paths)] == [0, 0]
            (stored,) = pacs.objects().values()
            assert kept in stored.data_set


@pytest.mark.parametrize(
    ("faults", "statuses", "kept"),
    [
        (Faults(store_status=0xA700), [0xA700] * 4, 0),
        (Faults(store_status=0xB000), [0xB000] * 4, 4),
        (Faults(store_fails_every=2), [0, 0xA700, 0, 0xA700], 2),
        (Faults(store_loses_every=2), [0, 0, 0, 0], 2),
        (Faults(store_alters=True), [0, 0, 0, 0], 4),
    ],
)
def test_storing_goes_wrong_as_told(tmp_path: Path, faults: Faults, statuses: list[int], kept: int) -> None:
    paths = [write_instance(tmp_path / f"{n}.dcm", ds) for n, ds in enumerate(make_study(4))]
    with EmbeddedPacs(faults=faults) as pacs:
        assert [sent.status for sent in load(pacs.node("pacs"), paths)] == statuses
        assert len(pacs.objects()) == kept
        sent = {data_set_bytes(ds) for ds in make_study(4)}
        assert (sent >= {stored.data_set for stored in pacs.objects().values()}) is not faults.store_alters


def test_strangers_and_wrong_titles_are_rejected(tmp_path: Path) -> None:
    require_peer("dcmtk")
    with EmbeddedPacs("RIGHT", callers=["VNA"], checks_called=True) as pacs:
        assert "Calling AE Title Not Recognized" in _dcmtk("findscu", pacs, "QueryRetrieveLevel=STUDY")
    with EmbeddedPacs("RIGHT", checks_called=True) as pacs:
        assert "Called AE Title Not Recognized" in _dcmtk("findscu", pacs, "QueryRetrieveLevel=STUDY", called="WRONG")
