"""The scanner gives the same answer for any chunking, agrees with pydicom, and survives anything."""

import random
import time
import warnings
from functools import cache
from pathlib import Path

import data_store
import pydicom
import pydicom.config
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.multival import MultiValue

from indexer.header import Header, HeaderScanner
from indexer.meta import read_file_meta
from indexer.scan import check_tail, scan_file
from indexer.schema import DICOM_COLUMNS, Kind
from tests.unit.indexer.corpus import BAD_FILES

ROOTS = (Path(pydicom.__file__).parent / "data", Path(next(iter(data_store.__path__))) / "data")
SMALL = 200_000


@cache
def real_files() -> tuple[Path, ...]:
    """Every DICOM file, good or bad, that pydicom and pydicom-data ship."""
    found = (path for root in ROOTS for path in sorted(root.rglob("*")) if path.is_file())
    return tuple(path for path in found if path.suffix not in {".py", ".pyc", ".json", ".txt", ".md", ".icc", ".gz", ".dump"})


@cache
def contents() -> tuple[bytes, ...]:
    """The small ones, with the corpus of bad files."""
    real = tuple(path.read_bytes() for path in real_files() if path.stat().st_size < SMALL)
    return real + tuple(bad.content for bad in BAD_FILES if len(bad.content) < SMALL)


def scan(data_set: bytes, transfer_syntax_uid: str, sizes: list[int], *, through: bool = False) -> Header:
    scanner = HeaderScanner(transfer_syntax_uid, through=through)
    at, turn = 0, 0
    while at < len(data_set):
        size = sizes[turn % len(sizes)]
        if scanner.feed(memoryview(data_set)[at : at + size] if turn % 2 else data_set[at : at + size]):
            break
        at, turn = at + size, turn + 1
    return scanner.close()


@settings(max_examples=150, deadline=None)
@given(st.data(), st.lists(st.integers(1, 700), min_size=1, max_size=12), st.booleans())
def test_any_chunking_gives_the_header_of_one_shot(data: st.DataObject, sizes: list[int], through: bool) -> None:
    content = contents()[data.draw(st.integers(0, len(contents()) - 1))]
    meta = read_file_meta(content)
    data_set = content[meta.data_set_offset or 0 :]
    whole = scan(data_set, meta.transfer_syntax_uid, [max(1, len(data_set))], through=through)
    assert scan(data_set, meta.transfer_syntax_uid, sizes, through=through) == whole


def test_one_byte_at_a_time_gives_the_header_of_one_shot() -> None:
    for content in contents():
        meta = read_file_meta(content)
        data_set = content[meta.data_set_offset or 0 :][:6_000]
        whole = scan(data_set, meta.transfer_syntax_uid, [max(1, len(data_set))])
        assert scan(data_set, meta.transfer_syntax_uid, [1]) == whole


def text(value: object, kind: Kind) -> object:
    """What pydicom says, as the index has it."""
    values = list(value) if isinstance(value, (MultiValue, list)) else [value]
    if kind in (Kind.INTEGER, Kind.SHORT):
        return int(values[0]) if values and values[0] is not None and values[0] != "" else None
    return "\\".join(str("" if one is None else one).rstrip(" \0") for one in values) or None


def pydicom_row(path: Path) -> dict[str, object] | None:
    """Read the columns with pydicom; None where it cannot or says itself that it guesses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            return {
                column.name: text(ds[column.tag].value, column.kind)
                for column in DICOM_COLUMNS
                if column.tag >> 16 != 2 and column.tag in ds
            }
        except Exception:
            return None


BEYOND_PYDICOM = {"badVR.dcm", "no_meta.dcm"}  # NumberOfFrames is no number, and pydicom falls back to guessing; no data set


@pytest.mark.parametrize("path", [path for path in real_files() if path.name not in BEYOND_PYDICOM], ids=lambda path: path.name)
def test_the_scanner_and_pydicom_read_the_same_values(path: Path) -> None:
    expected = pydicom_row(path)
    row = scan_file(path).row()
    found = {name: value for name, value in row.items() if value is not None and name != "TransferSyntaxUID"}
    assert found == {name: value for name, value in (expected or {}).items() if value is not None}


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Damage a file as disks, networks and enemies do."""
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at, kind = rng.randrange(len(damaged) or 1), rng.randrange(5)
        if kind == 0:
            damaged[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            damaged[at : at + 4] = rng.choice(
                [b"\xff\xff\xff\xff", b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", b"\0\0\0\0", b"SQ\0\0"]
            )
        elif kind == 2:
            del damaged[at : at + rng.randint(1, 200)]
        elif kind == 3:
            damaged[at:at] = damaged[at : at + rng.randint(1, 200)]
        else:
            del damaged[at:]
    return bytes(damaged)


def test_damaged_files_are_scanned_without_exception_in_bounded_time(tmp_path: Path) -> None:
    rng, path = random.Random(20260101), tmp_path / "file.dcm"
    pool = [content for content in contents() if 0 < len(content) < 60_000]
    ends = time.monotonic() + 4
    rounds = slowest = 0.0
    while time.monotonic() < ends:
        path.write_bytes(mutate(rng.choice(pool), rng))
        started = time.process_time()
        found = scan_file(path)
        found.row()
        slowest, rounds = max(slowest, time.process_time() - started), rounds + 1
    assert rounds > 200
    assert slowest < 2


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.3"]))
def test_any_bytes_are_scanned_without_exception(data: bytes, transfer_syntax_uid: str) -> None:
    for head in (b"", b"\x08\0\x05\0CS\x02\0AB", b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"):
        content = head + data
        header = scan(content, transfer_syntax_uid, [len(content) or 1])
        check_tail(header, len(content), lambda at, length, content=content: content[at : at + length])
        read_file_meta(content)
        read_file_meta(bytes(128) + b"DICM\x02\0" + content)
