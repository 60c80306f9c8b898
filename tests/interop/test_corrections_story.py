"""The story of a correction: a dirty legacy archive, a target that overwrites and one that keeps the old values."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import pydicom
import pytest

from tests.support.instances import real_images
from tests.support.peers import OrthancPeer, load, orthanc
from vna.archive import Archive
from vna.correct import CorrectOptions, apply, revert, rule_of_settings
from vna.forward import run as forward
from vna.inventory import run as take_inventory
from vna.ledger import Ledger
from vna.model import Local
from vna.pull import Method, PullOptions
from vna.pull import run as pull
from vna.verify import VerifyResult
from vna.verify import run as verify

LOCAL = Local(port=0)
CORRECTED = "Corrected^Name"
ALL = CorrectOptions(threshold=1.0, by="steward")


@dataclass
class Story:
    archive: Archive
    ledger: Ledger
    overwriting: OrthancPeer
    keeping: OrthancPeer

    def send(self, peer: OrthancPeer, name: str) -> VerifyResult:
        node = peer.node(name)
        forward(self.archive, self.ledger, node, LOCAL)
        return verify(self.archive, self.ledger, node, LOCAL)

    def names(self, peer: OrthancPeer) -> dict[str, str]:
        """Give the patients' names as the peer holds them, by SOP Instance UID."""
        held = {}
        for uid in peer.sop_instance_uids():
            held[uid] = str(pydicom.dcmread(io.BytesIO(peer.file(uid)), stop_before_pixels=True).get("PatientName", ""))
        return held


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    images = [path for path in real_images(unique=True) if path.stat().st_size < 300_000][:24]
    with (
        orthanc(folder / "legacy", ae_title="LEGACY") as legacy,
        orthanc(folder / "overwriting", ae_title="OVERWRITES", overwrite=True) as overwriting,
        orthanc(folder / "keeping", ae_title="KEEPS") as keeping,
        Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger,
    ):
        assert all(sent.is_stored for sent in load(legacy, images))
        archive = Archive.create(str(folder / "archive"))
        source = legacy.node("legacy")
        take_inventory(ledger, source, LOCAL)
        pulled = pull(archive, ledger, source, LOCAL, PullOptions(method=Method.GET))
        archive.sync_index()
        assert pulled.instances == len(images)
        yield Story(archive, ledger, overwriting, keeping)


def test_a_correction_reaches_the_target_that_overwrites_and_waits_at_the_one_that_keeps(story: Story) -> None:
    first = story.send(story.overwriting, "overwriting")
    second = story.send(story.keeping, "keeping")
    assert (first.closed, second.closed) == (True, True)
    before = story.names(story.overwriting)

    applied = apply(story.archive, [rule_of_settings([f"PatientName={CORRECTED}"], source="RIS")], ALL)
    assert applied.refused == 0
    assert applied.instances == first.verified

    corrected = story.send(story.overwriting, "overwriting")
    assert (corrected.verified, corrected.different, corrected.closed) == (first.verified, 0, True)
    assert set(story.names(story.overwriting).values()) == {CORRECTED}

    kept = story.send(story.keeping, "keeping")
    assert (kept.verified, kept.different, kept.closed) == (0, second.verified, False)
    waiting = list(story.ledger.unmigrated("keeping"))
    assert {unit.code for unit in waiting} == {"DIFFERENT"}
    assert all("PatientName" in unit.detail for unit in waiting)
    assert CORRECTED not in "".join(unit.detail for unit in waiting)

    again = story.send(story.overwriting, "overwriting")
    assert again.changes == 0

    revert(story.archive, ALL)
    restored = story.send(story.overwriting, "overwriting")
    assert (restored.verified, restored.closed) == (first.verified, True)
    assert story.names(story.overwriting) == before
    assert story.send(story.keeping, "keeping").closed
