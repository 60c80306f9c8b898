"""DCMTK's dcmqrscp as the demo's legacy PACS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.peers import require_peer
from vna.demo.dcmqrscp import dcmqrscp
from vna.demo.images import shipped_images
from vna.dimse.find import finder
from vna.errors import ConfigError
from vna.model import Local


def test_it_holds_the_uncompressed_ones_of_the_shipped_images(tmp_path: Path) -> None:
    require_peer("dcmtk")
    images = {image.path.name: image for image in shipped_images()}
    held, refused = [images["CT_small.dcm"], images["SC_rgb_small_odd_big_endian.dcm"]], [images["JPEG2000.dcm"]]
    with dcmqrscp(tmp_path, held + refused, [("VNA", 11112)]) as node, finder(node, Local()) as find:
        studies = {answer["StudyInstanceUID"] for answer in find("STUDY", {"StudyInstanceUID": ""})}
    assert studies == {image.study_instance_uid for image in held}


def test_without_dcmtk_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="not installed") as caught, dcmqrscp(tmp_path, [], []):
        pass
    assert "dcmtk" in caught.value.hint
