"""Copies of one SOP Instance UID in several studies are never compared with one another."""

from __future__ import annotations

import threading
from pathlib import Path

from vna.archive import Archive
from vna.ledger import StoredObject
from vna.verify.comparing import Comparer


def copy(study: str, sha256: str) -> StoredObject:
    return StoredObject(sha256, study, study, "1.2.3", "1.2", "1.2.840.10008.1.2.1", "p", 1, "stored", (), "s", "now")


def test_a_batch_waits_for_another_one_with_the_same_uid(tmp_path: Path) -> None:
    comparer = Comparer(Archive.create(str(tmp_path)))
    is_in, order = threading.Event(), []

    def second() -> None:
        is_in.wait()
        with comparer.batch([copy("2", "b")]):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with comparer.batch([copy("1", "a")]):
        is_in.set()
        thread.join(0.3)
        assert thread.is_alive()
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
