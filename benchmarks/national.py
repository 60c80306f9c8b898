"""Rows in the shape of a national archive: the series of the Imaging Data Commons, their instances synthesised.

``idc-index-data`` (PyPI) lists 1,044,191 real series with their modality, descriptions, UIDs and sizes, and how many instances
each has. What it does not tell is made up: names, birth dates, accession numbers and times for each patient, study and series;
instance UIDs of 30 random digits; digests of 32 random bytes, since digests do not compress.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexer.columns import INSTANCES
from indexer.schema import study_hash

ROOT = "1.3.6.1.4.1.14519.5.2.1.9999.9999."
FAMILIES = (
    "Smith", "Müller", "García", "Nguyễn", "Kowalski", "Novák", "Østergaard", "Çelik", "Þórsson", "Ó'Brien", "Van-der-Berg",
    "Šimić", "Lefèvre", "Martínez", "Jensen", "Schröder", "Álvarez", "Rossi", "Żak", "Đorđević", "MUELLER", "meier",
    "Petrov", "Andersson", "Kim", "Silva", "Costa", "Yılmaz", "Haddad", "Okafor",
)  # fmt: skip
GIVEN = (
    "Anna", "José", "Zoë", "Björn", "Marie", "Łukasz", "Søren", "Renée", "John", "Jane", "François", "Ana", "Ömer", "Eve",
    "Noël", "Luís", "Ida", "Max", "Ewa", "Tom",
)  # fmt: skip
IDEOGRAPHIC = ("山田^太郎", "鈴木^花子", "佐藤^一郎", "김^영희", "王^小明")
MICROSECONDS = 1_000_000
_COLUMNS = (
    "PatientID", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyDescription", "SeriesInstanceUID", "SeriesNumber",
    "SeriesDescription", "SeriesDate", "BodyPartExamined", "SOPClassUID", "TransferSyntaxUID", "Modality", "Manufacturer",
    "ManufacturerModelName", "PhotometricInterpretation",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """Series in the order of the hash of their study: a column for each attribute, and how many instances each series has."""

    series: pa.Table
    counts: Any
    sizes: Any

    @property
    def instances(self) -> int:
        """Tell how many instances there are."""
        return int(self.counts.sum())

    def first(self, instances: int) -> Shape:
        """Keep the studies that come first by hash, until there are so many instances."""
        hashes = self.series.column("study_hash").to_numpy()
        reached = int(np.searchsorted(np.cumsum(self.counts), instances))
        if reached >= len(hashes) - 1:
            return self
        end = int(np.searchsorted(hashes, hashes[reached], side="right"))
        return Shape(self.series.slice(0, end), self.counts[:end], self.sizes[:end])


def real_shape() -> Shape:
    """Read the series of ``idc-index-data``."""
    import idc_index_data
    import pyarrow.parquet as pq

    read = pq.read_table(idc_index_data.IDC_INDEX_PARQUET_FILEPATH, columns=[*_COLUMNS, "instanceCount", "series_size_MB"])
    counts, sizes = read.column("instanceCount").to_numpy(), read.column("series_size_MB").to_numpy()
    columns = {name: pc.cast(read.column(name), pa.string()).combine_chunks() for name in _COLUMNS}
    for name in ("StudyDate", "SeriesDate"):
        columns[name] = pc.replace_substring(columns[name], "-", "")
    return _in_order(columns, counts, sizes * 1e6)


def small_shape(studies: int, seed: int = 1) -> Shape:
    """Make up studies of a few series, for where ``idc-index-data`` is not installed."""
    rng = np.random.default_rng(seed)
    series = np.repeat(np.arange(studies), rng.integers(1, 5, studies))
    modality = np.array(["CT", "MR", "SR", "MG"])[rng.integers(0, 4, len(series))]
    made: dict[str, Any] = dict.fromkeys(_COLUMNS, [None] * len(series))
    made |= {
        "PatientID": [f"PAT-{study // 2:05d}" for study in series],
        "StudyInstanceUID": [f"{ROOT}1.{study}" for study in series],
        "SeriesInstanceUID": [f"{ROOT}2.{number}" for number in range(len(series))],
        "StudyDate": [f"20{study % 20:02d}{study % 12 + 1:02d}{study % 28 + 1:02d}" for study in series],
        "StudyDescription": [f"Study of kind {study % 40}" for study in series],
        "SeriesNumber": [str(number % 7) for number in range(len(series))],
        "Modality": list(modality),
        "SOPClassUID": ["1.2.840.10008.5.1.4.1.1.2"] * len(series),
    }
    columns = {name: pa.array(values, pa.string()) for name, values in made.items()}
    return _in_order(columns, rng.integers(1, 20, len(series)), np.full(len(series), 4e6))


def _in_order(columns: dict[str, Any], counts: Any, sizes: Any) -> Shape:
    uids = columns["StudyInstanceUID"].dictionary_encode()
    hashes = np.array([study_hash(uid) for uid in uids.dictionary.to_pylist()], np.int64)[uids.indices.to_numpy()]
    columns = {"study_hash": pa.array(hashes), **columns}
    columns["SeriesNumber"] = pa.array([int(n) if n and n.isdecimal() else None for n in columns["SeriesNumber"].to_pylist()])
    columns.update(_made_up(columns))
    table = pa.table(columns)
    order = pc.sort_indices(table, [("study_hash", "ascending"), ("SeriesInstanceUID", "ascending")])
    return Shape(table.take(order).combine_chunks(), counts[order.to_numpy()], sizes[order.to_numpy()])


def _made_up(columns: dict[str, Any]) -> dict[str, Any]:
    """Synthesise what the source does not tell, from a hash of the patient, the study or the series: the same in every run."""
    patient, study, series = (_numbers(columns[name]) for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
    names = [f"{family}^{given}" for family in FAMILIES for given in GIVEN]
    names += [f"{names[i * 7]}={group}" for i, group in enumerate(IDEOGRAPHIC)]
    names += [f"{name}^{chr(65 + i % 26)}" for i, name in enumerate(names[:600])]
    physicians = [f"{family}^{given}^^Dr." for family in FAMILIES for given in GIVEN[:3]]
    days = pa.array([f"{1920 + day // 336}{day // 28 % 12 + 1:02d}{day % 28 + 1:02d}" for day in range(336 * 90)])
    modality = columns["Modality"]
    is_image = pc.fill_null(pc.is_in(modality, pa.array(["CT", "MR", "PT", "MG", "CR", "DX"])), False)
    side = pc.if_else(pc.equal(modality, "MG"), 4096, pc.if_else(pc.equal(modality, "MR"), 256, 512))
    text = pa.string()

    def when_image(value: Any) -> Any:
        return pc.if_else(is_image, value, None)

    return {
        "PatientName": pa.array(names).take(pa.array(patient % len(names))),
        "PatientBirthDate": days.take(pa.array(patient // 7 % len(days))),
        "IssuerOfPatientID": pa.array([f"SITE{n}" for n in range(40)]).take(pa.array(patient // 11 % 40)),
        "AccessionNumber": pc.binary_join_element_wise("A", pc.cast(pa.array(study % 10**10), text), ""),
        "StudyTime": _times(study // 3),
        "StudyID": pc.cast(pa.array(study % 100_000), text),
        "ReferringPhysicianName": pa.array(physicians).take(pa.array(study % len(physicians))),
        "InstitutionName": pa.array([f"Hospital {n}" for n in range(60)]).take(pa.array(patient // 13 % 60)),
        "StationName": pa.array([f"STATION{n}" for n in range(400)]).take(pa.array(study // 5 % 400)),
        "SeriesTime": _times(series // 3),
        "ContentDate": columns["SeriesDate"],
        "ProtocolName": columns["SeriesDescription"],
        "FrameOfReferenceUID": when_image(pc.binary_join_element_wise(ROOT, pc.cast(pa.array(series), text), "")),
        "Rows": when_image(side),
        "Columns": when_image(side),
        "SamplesPerPixel": when_image(1),
        "BitsAllocated": when_image(16),
        "ImageType": when_image(pa.scalar("ORIGINAL\\PRIMARY\\AXIAL")),
    }


def _numbers(uids: Any) -> Any:
    """Give a stable 62-bit number for each value."""
    encoded = uids.dictionary_encode()
    digests = [hashlib.blake2b(value.encode(), digest_size=8).digest() for value in encoded.dictionary.to_pylist()]
    return (np.frombuffer(b"".join(digests), np.uint64) >> 2).astype(np.int64)[encoded.indices.to_numpy()]


def _times(numbers: Any) -> Any:
    times = pa.array([f"{s // 3600:02d}{s // 60 % 60:02d}{s % 60:02d}" for s in range(86_400)])
    return times.take(pa.array(numbers % 86_400))


def instance_rows(shape: Shape, rows: int, seed: int = 1) -> Iterator[pa.Table]:
    """Yield the instances in Arrow tables of the schema INSTANCES, of whole series and about ``rows`` rows each."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(shape.counts)
    done = 0
    while done < len(ends):
        before = int(ends[done - 1]) if done else 0
        end = max(done + 1, int(np.searchsorted(ends, before + rows, side="right")))
        yield _batch(shape.series.slice(done, end - done), shape.counts[done:end], shape.sizes[done:end], before, rng)
        done = end


def _batch(series: pa.Table, counts: Any, sizes: Any, before: int, rng: Any) -> pa.Table:
    total = int(counts.sum())
    of = np.repeat(np.arange(len(counts)), counts)
    at = pa.array(of)
    number = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    uids = _fixed(np.concatenate([np.full((total, 1), 49, np.uint8), rng.integers(48, 58, (total, 29), np.uint8)], 1), ROOT)
    hashes = pc.cast(series.column("StudyInstanceUID"), pa.string()).to_pylist()
    first = [hashlib.sha256(uid.encode()).hexdigest()[:2] for uid in hashes]
    folders = pc.binary_join_element_wise(
        "instances", pa.array(first), series["StudyInstanceUID"], series["SeriesInstanceUID"], "/"
    )
    seconds = 1_600_000_000 * MICROSECONDS + (before + np.arange(total)) * 1_500 + rng.integers(0, 1_500, total)
    own = {
        "SOPInstanceUID": uids,
        "sha256": _digests(total, rng),
        "status": pa.repeat("stored", total),
        "source": pa.repeat("legacy", total),
        "received_at": pa.array(seconds, pa.timestamp("us", tz="UTC")),
        "InstanceNumber": pa.array(number),
        "ContentTime": _content_times(number, of, rng),
        "path": pc.binary_join_element_wise(
            folders.combine_chunks().take(at), pc.binary_join_element_wise(uids, ".dcm", ""), "/"
        ),
        "size": pa.array((sizes / counts)[of].astype(np.int64) + rng.integers(0, 2_000, total)),
        "SpecificCharacterSet": pa.repeat("ISO_IR 192", total),
    }
    held = set(series.column_names)
    columns = [
        own[field.name]
        if field.name in own
        else series.column(field.name).combine_chunks().take(at).cast(field.type)
        if field.name in held
        else pa.nulls(total, field.type)
        for field in INSTANCES
    ]
    return pa.table(columns, schema=INSTANCES)


def _content_times(number: Any, of: Any, rng: Any) -> Any:
    milliseconds = (of * 7_919 % 80_000) * 1000 + number * 350 + rng.integers(0, 40, len(number))
    parts = (milliseconds // 3_600_000 % 24, milliseconds // 60_000 % 60, milliseconds // 1000 % 60, milliseconds % 1000)
    digits = np.full((len(number), 10), 46, np.uint8)
    for place, part in zip((0, 2, 4), parts[:3], strict=True):
        digits[:, place], digits[:, place + 1] = 48 + part // 10, 48 + part % 10
    for place, power in ((7, 100), (8, 10), (9, 1)):
        digits[:, place] = 48 + parts[3] // power % 10
    return _fixed(digits)


def _fixed(letters: Any, prefix: str = "") -> Any:
    """Make a column of texts of one length from a matrix of ASCII codes."""
    count, width = letters.shape
    if prefix:
        letters = np.concatenate([np.tile(np.frombuffer(prefix.encode(), np.uint8), (count, 1)), letters], 1)
        width = letters.shape[1]
    offsets = np.arange(count + 1, dtype=np.int32) * width
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(letters)))


def _digests(count: int, rng: Any) -> Any:
    offsets = np.arange(count + 1, dtype=np.int32) * 32
    return pa.BinaryArray.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(rng.bytes(32 * count))])
