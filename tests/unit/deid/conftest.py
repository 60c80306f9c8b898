"""What the de-identification tests share: a key, engines, and one data set edited in memory."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.support.instances import data_set_of, part10_bytes
from vna.deid.engine import Edited, Engine
from vna.deid.recipe import load_recipe
from vna.deid.top_level import PATIENT_ID, read_top_level
from vna.deid.values import Key, Patient
from vna.part10 import file_meta
from vna.part10.elements import DEFLATED_UIDS, encoding_of

SECRET = b"a key for tests, 32 bytes long.."


@pytest.fixture(scope="session")
def key() -> Key:
    return Key(SECRET)


@pytest.fixture(scope="session")
def engine_for(key: Key) -> Callable[[str], Engine]:
    return lambda name: Engine(load_recipe(name), key)


def edit_bytes(engine: Engine, part10: bytes | Path, transfer_syntax_uid: str) -> tuple[Edited, bytes]:
    """Edit a Part 10 file's header; give what the engine says and a readable Part 10 file without pixel data."""
    raw = data_set_of(part10)
    if transfer_syntax_uid in DEFLATED_UIDS:
        raw = zlib.decompress(raw, -15)
    top = read_top_level(raw, encoding_of(transfer_syntax_uid))
    edited = engine.edit(top, Patient(top.value(PATIENT_ID), b"", top.value(0x0020000D)))
    end = len(edited.data) - (top.pixel.value_at - top.pixel.at if top.pixel else 0)
    syntax = "1.2.840.10008.1.2.1" if transfer_syntax_uid in DEFLATED_UIDS else transfer_syntax_uid
    return edited, file_meta(edited.sop_class_uid, edited.sop_instance_uid, syntax) + edited.data[:end]


def edited_data_set(engine: Engine, ds: Dataset) -> Dataset:
    """Edit ``ds`` and read the result back."""
    _, content = edit_bytes(engine, part10_bytes(ds), str(ds.file_meta.TransferSyntaxUID))
    return read(content)


def read(content: bytes) -> Dataset:
    """Read a Part 10 file from memory, quietly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(content))
