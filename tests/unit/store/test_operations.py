"""The seam to the operating system: the whole thing or an error."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vna.errors import StoreError, StoreFullError
from vna.store import SYSTEM, LocalStore, Spool
from vna.store.operations import FILE_MODE, store_error


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: genuine(descriptor, bytes(data)[:3]))
    descriptor = SYSTEM.create(tmp_path / "f", FILE_MODE)
    SYSTEM.write(descriptor, b"0123456789")
    os.close(descriptor)
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_nothing_is_created_over_a_file_or_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"there")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            SYSTEM.create(tmp_path / name, FILE_MODE)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, StoreFullError), (errno.EDQUOT, StoreFullError), (errno.EIO, StoreError)]
)
def test_a_full_disk_is_told_from_a_broken_one(code: int, kind: type[StoreError]) -> None:
    error = store_error(OSError(code, os.strerror(code)), "it did not work")
    assert type(error) is kind
    assert error.transient == (kind is StoreFullError)
    assert str(error) == f"it did not work: {os.strerror(code)}"


def test_a_file_size_limit_of_the_system_leaves_no_part_of_an_object(tmp_path: Path) -> None:
    program = f"""
import resource, signal
from pathlib import Path
from typing import Any
from vna.errors import StoreError
from vna.store import LocalStore, Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
root = Path({str(tmp_path)!r})
spool = Spool(root)
file = spool.create()
try:
    file.write(bytes(200_000))
except StoreError:
    file.discard()
else:
    raise SystemExit("the write did not fail")
store = LocalStore(root)
try:
    store.put_bytes(bytes(200_000), "a/b")
except StoreError:
    raise SystemExit(0)
raise SystemExit("the put did not fail")
"""
    assert resource.RLIMIT_FSIZE is not None
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["scratch.lock"]


def test_a_spool_file_is_hashed_as_it_is_written_and_read_back(tmp_path: Path) -> None:
    file = Spool(tmp_path).create()
    file.write(b"abc")
    file.write(memoryview(b"def"))
    assert (file.size, file.read_at(2, 2), file.read_at(5, 9)) == (6, b"cd", b"f")
    assert file.sha256() == "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721"
    file.sync()
    file.close()
    assert file.path.read_bytes() == b"abcdef"
    file.discard()
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_spool_files_never_share_a_name(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    files = [spool.create() for _ in range(10)]
    assert len({file.path for file in files}) == 10
    for file in files:
        file.discard()


def test_a_store_forces_a_new_folder_to_the_disk_once(tmp_path: Path) -> None:
    synced: list[Path] = []

    class Counting(type(SYSTEM)):  # type: ignore[misc]
        def sync_folder(self, path: Path) -> None:
            synced.append(path.relative_to(tmp_path))
            super().sync_folder(path)

    store = LocalStore(tmp_path, Counting())
    for name in ("1", "2"):
        store.put_bytes(b"x", f"a/b/{name}")
    assert synced.count(Path()) == 2, "for a/ and for the scratch folder"
    assert synced.count(Path("a")) == 1
    assert synced.count(Path("a/b")) == 2, "once for each object"


def test_a_probe_for_hard_links_is_not_swept_by_a_writer_that_starts_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def sweep_first(*arguments: Any, **options: Any) -> None:
        LocalStore(tmp_path).sweep()
        link(*arguments, **options)

    monkeypatch.setattr("os.link", sweep_first)
    assert LocalStore(tmp_path).keeps_source
