"""A row is made of its own header alone, whatever the rows before it were made of."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.encodings import Encoding
from indexer.problems import Problem
from indexer.record import Header
from indexer.row import identity_problems, index_row

STRANGER = Header("1.2.840.10008.1.2", dict.fromkeys(range(0x00080020, 0x00080034), b"20200101"))
"""Has nothing in common with any other: behind it, a row is made from the ground up."""

UIDS = st.sampled_from([b"1.2.3", b"1.2.4\0", b"1.02", b"", b" ", b"1.2.840.10008.1.3.10"])
HEADERS = st.builds(
    Header,
    st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", ""]),
    st.fixed_dictionaries(
        {
            0x00080005: st.sampled_from([b"", b"ISO_IR 100", b"ISO_IR 192", b"unknown"]),
            0x00080060: st.sampled_from([b"CT", b"MR"]),
            0x00100010: st.sampled_from([b"Doe^Jane", b"M\xfcller", b"M\xc3\xbcller", b""]),
            0x00200013: st.sampled_from([b"1 ", b"2 ", b"x ", b""]),
            0x00280010: st.sampled_from([b"\1\0", b"\0\1", b"\1"]),
        },
        optional={
            0x00080016: UIDS,
            0x00080018: UIDS,
            0x0020000D: UIDS,
            0x0020000E: UIDS,
            **dict.fromkeys((0x00080020, 0x00080030, 0x00081030, 0x00100020, 0x00100040), st.sampled_from([b"1 ", b"2 "])),
        },
    ),
    encoding=st.sampled_from([Encoding.EXPLICIT_LITTLE, Encoding.EXPLICIT_BIG]),
    has_header_end=st.booleans(),
)


def made(header: Header) -> tuple[dict[str, object], list[Problem]]:
    problems = [Problem("CHARSET")] if header.has_header_end else []
    return index_row(header, problems), problems


@settings(max_examples=400, deadline=None)
@given(st.lists(HEADERS, min_size=1, max_size=6))
def test_a_row_and_its_problems_do_not_depend_on_the_rows_before(headers: list[Header]) -> None:
    alone = []
    for header in headers:
        index_row(STRANGER)
        alone.append(made(header))
    index_row(STRANGER)
    assert [made(header) for header in headers] == alone


def test_a_caller_may_change_its_row() -> None:
    header = Header("1.2.840.10008.1.2", {**STRANGER.elements, 0x00080060: b"CT"})
    index_row(header)["Modality"] = "changed"
    assert index_row(header)["Modality"] == "CT"


def judged(header: Header, sop_class_uid: str, sop_instance_uid: str) -> list[str]:
    return [problem.code for problem in identity_problems(header, sop_class_uid, sop_instance_uid)]


def test_a_series_that_was_judged_before_does_not_hide_what_is_wrong_with_one_object() -> None:
    base = {0x00080016: b"1.2", 0x00080018: b"1.2.3", 0x0020000D: b"1.2.4", 0x0020000E: b"1.2.5"}
    assert judged(Header("", base), "1.2", "1.2.3") == []
    assert judged(Header("", base), "1.2", "1.2.30") == ["SOP_MISMATCH"]
    assert judged(Header("", base), "1.3", "1.2.3") == ["SOP_MISMATCH"]
    for instance, codes in ((b"1.02", ["BAD_UID"]), (b"1.2 ", ["BAD_UID"]), (b"1.2\0\0", ["BAD_UID"]), (b"1.2\0", [])):
        assert judged(Header("", {**base, 0x00080018: instance}), "1.2", "") == codes
    without = {tag: value for tag, value in base.items() if tag != 0x00080018}
    assert judged(Header("", without, has_header_end=True), "1.2", "") == ["NO_SOP_INSTANCE_UID"]
    headless = {tag: value for tag, value in base.items() if tag != 0x0020000D}
    assert judged(Header("", headless), "1.2", "1.2.3") == []
    assert judged(Header("", headless, has_header_end=True), "1.2", "1.2.3") == ["NO_STUDY_INSTANCE_UID"]
