"""A store on any fsspec file system that replaces whole objects: GCS, Azure, SFTP, memory. S3 has its own: :mod:`vna.store.s3`.

An exception inside ``with fs.open(path, "wb")`` still commits the partial object on several of them, so nothing is ever streamed
into a final name: an object is put as a whole from the local spool, and looked at again afterwards.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

from vna.errors import DigestMismatchError, InstanceMissingError, StoreError
from vna.store.operations import store_errors
from vna.store.port import Readable, checked, replaceable

_ONE_PUT = 64 << 20
_PIECE = 1 << 20


class FsspecStore:
    """A :class:`vna.store.port.Store` under an fsspec URL.

    Create-only is a look before the put, under a lock of this process: two *processes* must not write to such a store at the same
    time.
    """

    keeps_source = True

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        self._fs, root = fsspec.core.url_to_fs(self.url, **dict(storage_options or {}))
        self._root = str(root).rstrip("/")
        self._creating = threading.Lock()

    def publish(self, files: Sequence[tuple[Path | str, str]]) -> list[bool]:
        """See :meth:`vna.store.port.Store.publish`."""
        return [self.put_file(Path(local), path) for local, path in files]

    def put_file(self, local: Path, path: str) -> bool:
        """See :meth:`vna.store.port.Store.put_file`."""
        target = self._target(path)
        with store_errors("the object could not be put"):
            size = local.stat().st_size
            if size <= _ONE_PUT:
                return self._create(target, local.read_bytes())
            with self._creating:
                if self._fs.exists(target):
                    return False
                try:
                    self._fs.put_file(str(local), target, mode="create")
                except OSError:
                    if self._fs.exists(target):
                        return False
                    raise
            self._check_size(target, size)
        return True

    def put_stream(self, source: Readable, path: str) -> bool:
        """See :meth:`vna.store.port.Store.put_stream`. It goes through a temporary file, to be whole before it is put."""
        checked(path)
        with store_errors("the object could not be put"), tempfile.NamedTemporaryFile() as spooled:
            while chunk := source.read(_PIECE):
                spooled.write(chunk)
            spooled.flush()
            return self.put_file(Path(spooled.name), path)

    def put_bytes(self, data: bytes, path: str) -> bool:
        """See :meth:`vna.store.port.Store.put_bytes`."""
        with store_errors("the object could not be put"):
            return self._create(self._target(path), data)

    def replace_bytes(self, data: bytes, path: str) -> None:
        """See :meth:`vna.store.port.Store.replace_bytes`."""
        replaceable(path)
        with store_errors("the object could not be replaced"):
            self._fs.pipe_file(self._target(path), data)

    def amend_bytes(self, path: str, amend: Callable[[bytes | None], bytes | None]) -> bool:
        """See :meth:`vna.store.port.Store.amend_bytes`. Under the lock of this process."""
        replaceable(path)
        with self._creating:
            amended = amend(self.read_bytes(path) if self.exists(path) else None)
            if amended is None:
                return False
            self.replace_bytes(amended, path)
            return True

    def replace_damaged(self, local: Path, path: str, damaged: str) -> None:
        """See :meth:`vna.store.port.Store.replace_damaged`. No condition can be set for it, so it is refused."""
        checked(path)
        raise StoreError("this kind of store cannot exchange damaged bytes", hint="restore the object by hand")

    def came_from(self, local: Path, path: str) -> bool:
        """See :meth:`vna.store.port.Store.came_from`. A service does not tell, so the bytes are compared."""
        target = self._target(path)
        with store_errors("the object could not be examined"):
            if not self._fs.isfile(target) or int(self._fs.info(target)["size"]) != local.stat().st_size:
                return False
            with self._fs.open(target, "rb") as theirs, local.open("rb") as ours:
                while chunk := ours.read(_PIECE):
                    if theirs.read(len(chunk)) != chunk:
                        return False
        return True

    def settle(self, path: str) -> bool:
        """See :meth:`vna.store.port.Store.settle`. What a service shows as a whole object is durable."""
        if not self.exists(path):
            raise InstanceMissingError("there is no object under that path")
        return True

    def open(self, path: str) -> BinaryIO:
        """See :meth:`vna.store.port.Store.open`."""
        target = self._target(path)
        with store_errors("the object could not be opened"):
            try:
                return cast(BinaryIO, self._fs.open(target, "rb"))
            except FileNotFoundError as exc:
                raise InstanceMissingError(f"there is no object under {path}") from exc

    def read_bytes(self, path: str) -> bytes:
        """See :meth:`vna.store.port.Store.read_bytes`."""
        target = self._target(path)
        with store_errors("the object could not be read"):
            try:
                return bytes(self._fs.cat_file(target))
            except FileNotFoundError as exc:
                raise InstanceMissingError(f"there is no object under {path}") from exc

    def exists(self, path: str) -> bool:
        """See :meth:`vna.store.port.Store.exists`."""
        with store_errors("the object could not be examined"):
            return bool(self._fs.isfile(self._target(path)))

    def size(self, path: str) -> int:
        """See :meth:`vna.store.port.Store.size`."""
        with store_errors("the object could not be examined"):
            try:
                return int(self._fs.info(self._target(path))["size"])
            except FileNotFoundError as exc:
                raise InstanceMissingError(f"there is no object under {path}") from exc

    def age_s(self, path: str) -> float:
        """See :meth:`vna.store.port.Store.age_s`. By this machine's clock. Raises StoreError where the service does not tell."""
        with store_errors("the object could not be examined"):
            try:
                put = self._fs.modified(self._target(path))
            except FileNotFoundError as exc:
                raise InstanceMissingError(f"there is no object under {path}") from exc
            except NotImplementedError as exc:
                raise StoreError("this kind of store does not tell when an object was put") from exc
        return time.time() - float((put if put.tzinfo else put.replace(tzinfo=UTC)).timestamp())

    def list(self, prefix: str = "") -> Iterator[str]:
        """See :meth:`vna.store.port.Store.list`."""
        start = self._target(prefix) if prefix else self._root
        with store_errors("the store could not be listed"):
            try:
                found = self._fs.find(start)
            except FileNotFoundError:
                return
        for name in found:
            yield str(name).removeprefix(self._root).lstrip("/")

    def _target(self, path: str) -> str:
        return f"{self._root}/{checked(path)}"

    def _create(self, target: str, data: bytes) -> bool:
        with self._creating:
            if self._fs.exists(target):
                return False
            try:
                self._fs.pipe_file(target, data, mode="create")
            except OSError:
                # A refused condition comes as FileExistsError from one service and as a plain OSError from another.
                if self._fs.exists(target):
                    return False
                raise
        self._check_size(target, len(data))
        return True

    def _check_size(self, target: str, size: int) -> None:
        if int(self._fs.info(target)["size"]) != size:
            raise DigestMismatchError("the service shows another size than was put", hint="examine the service before going on")
