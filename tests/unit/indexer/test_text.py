"""Text is decoded as pydicom decodes it, and never fails."""

import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.multival import MultiValue

from indexer.scan import scan_file
from indexer.text import character_set, decode, decode_checked

CHARSETS = sorted((Path(pydicom.__file__).parent / "data" / "charset_files").glob("*.dcm"))


@pytest.mark.parametrize("path", CHARSETS, ids=lambda path: path.name)
def test_every_character_set_file_of_pydicom_reads_as_with_pydicom(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path)
        declared = ds.get("SpecificCharacterSet", "")
        terms = "\\".join(declared) if isinstance(declared, (MultiValue, list)) else str(declared or "")
        found = {
            name: ds.get_item(name) for name in ("PatientName", "PatientID", "PatientComments", "StudyDescription") if name in ds
        }
        raw = {name: (item.value, item.VR) for name, item in found.items() if isinstance(item.value, bytes)}
        for name, (value, vr) in raw.items():
            text, worked = decode_checked(value, vr or "LO", terms)
            assert text == str(ds[name].value)
            assert worked
        assert scan_file(path).row()["PatientName"] == (str(ds.PatientName) if "PatientName" in ds else None)


@pytest.mark.parametrize(
    ("raw", "vr", "terms", "text"),
    [
        (b"Doe^Jane ", "PN", b"", "Doe^Jane"),
        (b"M\xfcller", "LO", b"ISO_IR 100", "Müller"),
        (b"M\xc3\xbcller", "LO", b"ISO_IR 192", "Müller"),
        (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=", "PN", b"\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎"),
        (b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "PN", b"\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞"),
        ("王^小东".encode("gb18030"), "PN", b"GB18030", "王^小东"),
        (b"A \\B\0", "LO", b"", "A\\B"),
        (b"\xe9t\xe9", "CS", b"ISO_IR 192", "été"),  # CS knows the default repertoire only
        (b"Smith", "LO", b"ISO-IR 100", "Smith"),
    ],
)
def test_values_decode_by_their_character_set(raw: bytes, vr: str, terms: bytes, text: str) -> None:
    assert decode_checked(raw, vr, terms) == (text, True)


@pytest.mark.parametrize(
    ("raw", "terms"),
    [
        (b"M\xfcller", b"ISO_IR 192"),
        (b"M\xfcller", b"ISO_IR 9999"),
        (b"\x1b$Z\x01\x02", b"\\ISO 2022 IR 87"),
        (b"\x1b$B\xff\xff", b"\\ISO 2022 IR 87"),
        (b"\x1b$)C\xff\xff", b"\\ISO 2022 IR 149"),
        (b"\xff\xff", b"GB18030\\ISO 2022 IR 100"),
        (b"M\xfcller", b"rot13"),
    ],
)
def test_what_is_not_as_declared_is_decoded_all_the_same_and_reported(raw: bytes, terms: bytes) -> None:
    text, worked = decode_checked(raw, "LO", terms)
    assert text
    assert not worked


def test_no_python_codec_but_character_sets_can_be_reached_from_a_file() -> None:
    for name in (b"hex", b"idna", b"punycode", b"undefined", b"zlib", b"raw_unicode_escape", b"mbcs", b"\0x", b"../x"):
        assert character_set(name).encodings == ("iso8859",)
        assert not character_set(name).is_standard


@given(st.binary(max_size=60), st.binary(max_size=40), st.sampled_from(["PN", "LO", "CS", "UT"]))
def test_any_bytes_decode(raw: bytes, terms: bytes, vr: str) -> None:
    decode(b"\x1b" + raw, vr, terms)
    decode(raw, vr, b"\\ISO 2022 IR 87\\ISO 2022 IR 149\\ISO 2022 IR 58\\" + terms).encode("utf-8")
