"""Raw elements: headers in every encoding, skipping, encoding, and no surprise on bad data."""

from __future__ import annotations

import contextlib
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from vna.part10.elements import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    MAX_DEPTH,
    UNDEFINED,
    Encoding,
    StructureError,
    TruncatedError,
    actual_encoding,
    element_bytes,
    encoding_of,
    header_bytes,
    is_private,
    read_header,
    sequence_bytes,
    skip_value,
    vr_of,
)

ENCODINGS = [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE]


def encoded(encoding: Encoding, *, undefined: bool = False) -> bytes:
    """Let pydicom encode a data set with a sequence in it."""
    ds, item, inner = Dataset(), Dataset(), Dataset()
    inner.CodeMeaning = "inner"
    item.ViewModifierCodeSequence, item.CodeValue = Sequence([inner]), "1"
    ds.Modality, ds.PatientName, ds.ViewCodeSequence, ds.Rows = "CT", "A^B", Sequence([item, item]), 7
    ds["ViewCodeSequence"].is_undefined_length = undefined
    item.is_undefined_length_sequence_item = undefined
    out = BytesIO()
    pydicom.dcmwrite(out, ds, implicit_vr=not encoding.explicit, little_endian=encoding.little_endian)
    return out.getvalue()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("undefined", [False, True])
def test_a_walk_meets_every_element_and_ends_at_the_end(encoding: Encoding, undefined: bool) -> None:
    buffer = encoded(encoding, undefined=undefined)
    at, seen = 0, []
    while at < len(buffer):
        header = read_header(buffer, at, encoding)
        seen.append(header[0])
        at = skip_value(buffer, header, encoding)
    assert at == len(buffer)
    assert seen == [0x00080060, 0x00100010, 0x00280010, 0x00540220]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("vr", "value"), [(b"LO", b"abc"), (b"UI", b"1.2"), (b"UT", b"x" * 70_001), (b"OB", b"\1"), (b"US", b"\1\2")]
)
def test_what_is_encoded_is_read_back(encoding: Encoding, vr: bytes, value: bytes) -> None:
    made = element_bytes(0x00091001, vr, value, encoding)
    tag, read_vr, length, at = read_header(made, 0, encoding)
    assert tag == 0x00091001 and read_vr == (vr if encoding.explicit else b"")
    assert length % 2 == 0 and made[at:].rstrip(b" \0") == value and at + length == len(made)


def test_a_value_is_padded_as_its_own_vr_wants() -> None:
    assert element_bytes(0x0020000D, b"", b"1.2", IMPLICIT_LE, b"UI").endswith(b"1.2\0")
    assert element_bytes(0x00080060, b"UN", b"CTX", EXPLICIT_LE, b"CS").endswith(b"CTX ")


def test_a_sequence_of_defined_length_is_what_pydicom_reads() -> None:
    made = sequence_bytes(0x00540220, [element_bytes(0x00080104, b"LO", b"view", EXPLICIT_LE)], EXPLICIT_LE)
    ds = pydicom.dcmread(BytesIO(made), force=True)
    assert ds.ViewCodeSequence[0].CodeMeaning == "view"


def test_a_value_too_long_for_its_vr_is_refused() -> None:
    with pytest.raises(StructureError) as caught:
        header_bytes(0x00100010, b"PN", 0x10000, EXPLICIT_LE)
    assert caught.value.code == "OVERSIZE_VALUE"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_cut_is_noticed(encoding: Encoding) -> None:
    buffer = encoded(encoding, undefined=True)
    header_at = next(at for at in range(len(buffer)) if read_header(buffer, at, encoding)[0] == 0x00540220)
    for end in range(header_at + 1, len(buffer)):
        cut = buffer[:end]
        with pytest.raises(TruncatedError):
            skip_value(cut, read_header(cut, header_at, encoding), encoding)


@given(st.binary(max_size=200), st.sampled_from(ENCODINGS))
def test_no_bytes_raise_anything_but_a_structure_error(content: bytes, encoding: Encoding) -> None:
    at = 0
    with contextlib.suppress(StructureError):
        while at < len(content):
            after = skip_value(content, read_header(content, at, encoding), encoding)
            assert at < after <= len(content)
            at = after


def test_nesting_without_end_is_refused() -> None:
    deep = (b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * (MAX_DEPTH + 2)
    with pytest.raises(StructureError) as caught:
        skip_value(deep, read_header(deep, 0, EXPLICIT_LE), EXPLICIT_LE)
    assert caught.value.code == "DEPTH"


def test_the_first_element_corrects_a_wrong_transfer_syntax() -> None:
    assert actual_encoding(encoded(IMPLICIT_LE)[:8], EXPLICIT_LE) == IMPLICIT_LE
    assert actual_encoding(encoded(EXPLICIT_LE)[:8], IMPLICIT_LE) == EXPLICIT_LE
    assert actual_encoding(encoded(EXPLICIT_BE)[:8], EXPLICIT_BE) == EXPLICIT_BE
    assert actual_encoding(b"", EXPLICIT_LE) == EXPLICIT_LE


def test_what_ps36_says_of_a_tag() -> None:
    assert vr_of(0x00100010) == b"PN" and vr_of(0x60020010) == b"US" and vr_of(0x00091001) == b""
    assert is_private(0x00091001) and not is_private(0x00100010)
    assert encoding_of("1.2.840.10008.1.2") == IMPLICIT_LE and encoding_of("1.2.840.10008.1.2.4.50") == EXPLICIT_LE
    assert UNDEFINED == 2**32 - 1
