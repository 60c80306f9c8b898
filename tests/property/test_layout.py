"""Layout: no UID leaves its folder, no two meet in one path."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from hypothesis import example, given
from hypothesis import strategies as st

from vna.archive import layout

uids = st.one_of(
    st.text(),
    st.text(alphabet="0123456789.", max_size=70),
    st.text(alphabet="./\\\0 x0123456789abcdef~", max_size=80),
    st.text(min_size=60, max_size=140),
)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(uids, uids)
@example("1.2.3", "x312e322e33")
@example("", "x")
@example(".", "..")
def test_two_uids_never_share_a_path_part(first: str, second: str) -> None:
    assert (layout.path_part(first) == layout.path_part(second)) == (first == second)


@given(uids)
@example("..")
@example(".")
@example("../../x")
@example("/etc/passwd")
@example("1\x00")
@example("\ud800")
@example("１.２.３")
@example("1.2.3\n")
def test_a_path_part_is_one_harmless_file_name(uid: str) -> None:
    part = layout.path_part(uid)
    assert re.fullmatch(r"[0-9.xha-f]+", part, re.ASCII)
    assert part.strip(".")
    assert len(part) <= 129


@given(uids, uids, uids, digests)
def test_no_object_leaves_the_archive(study: str, series: str, sop: str, sha256: str) -> None:
    path = layout.instance_path(study, series, sop)
    for each in (path, layout.variant_path(path, sha256), layout.quarantine_path(sha256), layout.manifest_path(study)):
        pure = PurePosixPath(each)
        assert not pure.is_absolute()
        assert ".." not in pure.parts
        assert "." not in pure.parts
        assert str(pure) == each
        assert all(len(part) <= 255 for part in pure.parts)


@given(st.tuples(uids, uids, uids), st.tuples(uids, uids, uids))
def test_two_identities_never_share_a_path(first: tuple[str, str, str], second: tuple[str, str, str]) -> None:
    assert (layout.instance_path(*first) == layout.instance_path(*second)) == (first == second)


@given(uids, uids, uids, uids, digests)
def test_a_variant_is_told_from_every_first_object(study: str, series: str, sop: str, other: str, sha256: str) -> None:
    path = layout.instance_path(study, series, sop)
    variant = layout.variant_path(path, sha256)
    assert layout.is_variant(variant)
    assert not layout.is_variant(path)
    assert variant != layout.instance_path(study, series, other)


@given(st.from_regex(r"[0-9.]{0,63}[0-9]", fullmatch=True))
def test_a_plain_uid_is_its_own_path_part(uid: str) -> None:
    assert layout.path_part(uid) == uid


def test_the_prefix_is_the_start_of_the_sha256_of_the_study() -> None:
    uid = "1.2.840.113619.2.55"
    assert (
        layout.instance_path(uid, "1.2", "1.3") == f"instances/{hashlib.sha256(uid.encode()).hexdigest()[:2]}/{uid}/1.2/1.3.dcm"
    )
