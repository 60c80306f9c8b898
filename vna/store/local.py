"""A store in a local folder: spool, fsync, link, fsync of the folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vna.errors import DigestMismatchError, InstanceMissingError, StoreError
from vna.store.grouping import GroupCommit
from vna.store.operations import APPEND_MODE, FILE_MODE, NO_LINKS, SYSTEM, Operations, store_error, store_errors
from vna.store.port import Readable, checked, replaceable

_PREFIX = "put-"
_PIECE = 1 << 20
_SCRATCH_LOCK = "scratch.lock"
_RENAME_LOCK = "rename.lock"
_AMEND_LOCK = "amend.lock"
_KNOWN_FOLDERS = 50_000
_KNOWN_SYNCS = 1_000


class LocalStore:
    """A :class:`vna.store.port.Store` in a folder of a POSIX file system.

    A file is published by giving it a second, final name (``link``), which fails where a name stands already; the temporary name
    goes away afterwards. Where the file system has no hard links (a probe finds out), it is renamed under a lock that all writers
    of this store respect. Thread-safe, and safe between processes of one machine.
    """

    def __init__(self, root: Path | str, operations: Operations = SYSTEM, *, scratch: str = "spool") -> None:
        self.root = Path(root).absolute()
        self.url = str(self.root)
        self._scratch = self.root / scratch
        self._operations = operations
        self._lock = threading.Lock()
        self._known: set[Path] = {self.root}
        self._folders: dict[str, Path] = {}
        self._syncs: dict[Path, GroupCommit] = {}
        self._lost: set[Path] = set()
        self._has_links: bool | None = None

    @property
    def keeps_source(self) -> bool:
        """Whether the file system has hard links, so that publishing leaves the temporary name for the caller to remove."""
        if self._has_links is None:
            with store_errors("the store could not be probed for hard links"):
                self._has_links = self._probe_links()
        return self._has_links

    def publish(self, files: Sequence[tuple[Path | str, str]]) -> list[bool]:
        """See :meth:`vna.store.port.Store.publish`."""
        published: list[bool] = []
        folders: dict[Path, None] = {}
        with store_errors("the object could not be published"):
            for local, path in files:
                folder, target = self._target(path)
                done = self._name(local, target)
                published.append(done)
                if done:
                    folders[folder] = None
            for folder in folders:
                self._sync_folder(folder)
        return published

    def put_file(self, local: Path, path: str) -> bool:
        """See :meth:`vna.store.port.Store.put_file`."""
        checked(path)
        with store_errors("the file could not be stored"), local.open("rb") as source:
            return self._put(source, path, self._name)

    def put_stream(self, source: Readable, path: str) -> bool:
        """See :meth:`vna.store.port.Store.put_stream`."""
        checked(path)
        with store_errors("the object could not be stored"):
            return self._put(source, path, self._name)

    def put_bytes(self, data: bytes, path: str) -> bool:
        """See :meth:`vna.store.port.Store.put_bytes`."""
        checked(path)
        with store_errors("the object could not be stored"):
            return self._put(data, path, self._name)

    def replace_bytes(self, data: bytes, path: str) -> None:
        """See :meth:`vna.store.port.Store.replace_bytes`."""
        replaceable(path)
        with store_errors("the object could not be replaced"):
            self._put(data, path, self._exchange)

    def amend_bytes(self, path: str, amend: Callable[[bytes | None], bytes | None]) -> bool:
        """See :meth:`vna.store.port.Store.amend_bytes`. Under a lock that every amending process of this store takes."""
        replaceable(path)
        with store_errors("the object could not be amended"), self._locked(_AMEND_LOCK, fcntl.LOCK_EX):
            amended = amend(self.read_bytes(path) if self.exists(path) else None)
            return amended is not None and self._put(amended, path, self._exchange)

    def replace_damaged(self, local: Path, path: str, damaged: str) -> None:
        """See :meth:`vna.store.port.Store.replace_damaged`."""

        def exchange(scratch: Path, target: str) -> bool:
            if _digest(target) != damaged:
                raise DigestMismatchError("the object is not the damaged one any more", hint="scrub again")
            return self._exchange(scratch, target)

        if not self.exists(path):
            raise InstanceMissingError(f"there is no object under {path}")
        with store_errors("the damaged object could not be replaced"), local.open("rb") as source:
            self._put(source, path, exchange)

    def came_from(self, local: Path, path: str) -> bool:
        """See :meth:`vna.store.port.Store.came_from`. A local file that is gone was renamed."""
        target = self.root / checked(path)
        with store_errors("the object could not be examined"):
            return target.exists() and (not local.exists() or target.samefile(local))

    def settle(self, path: str) -> bool:
        """See :meth:`vna.store.port.Store.settle`. With hard links the temporary name that is gone tells that all was done."""
        target = self.root / checked(path)
        with store_errors("the object could not be examined"):
            try:
                finished = target.stat().st_nlink == 1 and self.keeps_source
            except (FileNotFoundError, NotADirectoryError) as exc:
                raise InstanceMissingError("there is no object under that path") from exc
            if not finished:
                self._ensure_folder(target.parent)
                self._sync_folder(target.parent)
        return finished

    def open(self, path: str) -> BinaryIO:
        """See :meth:`vna.store.port.Store.open`."""
        return self._opened(path, -1)

    def open_unbuffered(self, path: str) -> BinaryIO:
        """Open an object as :meth:`open` does, for whoever reads large pieces: to make a buffer costs as much as opening."""
        return self._opened(path, 0)

    def _opened(self, path: str, buffering: int) -> BinaryIO:
        target = f"{self.url}/{checked(path)}"  # pathlib would cost as much as opening
        try:
            return open(target, "rb", buffering)  # noqa: PTH123
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
            raise InstanceMissingError(f"there is no object under {path}") from exc
        except OSError as exc:
            raise store_error(exc, "the object could not be opened") from exc

    def read_bytes(self, path: str) -> bytes:
        """See :meth:`vna.store.port.Store.read_bytes`."""
        with self.open(path) as file, store_errors("the object could not be read"):
            return file.read()

    def exists(self, path: str) -> bool:
        """See :meth:`vna.store.port.Store.exists`."""
        with store_errors("the object could not be examined"):
            try:
                return stat.S_ISREG(os.stat(f"{self.url}/{checked(path)}").st_mode)  # noqa: PTH116 - once for each object
            except (FileNotFoundError, NotADirectoryError):
                return False

    def size(self, path: str) -> int:
        """See :meth:`vna.store.port.Store.size`."""
        return self._status(path).st_size

    def age_s(self, path: str) -> float:
        """See :meth:`vna.store.port.Store.age_s`."""
        return time.time() - self._status(path).st_mtime

    def _status(self, path: str) -> os.stat_result:
        target = self.root / checked(path)
        with store_errors("the object could not be examined"):
            try:
                return target.stat()
            except (FileNotFoundError, NotADirectoryError) as exc:
                raise InstanceMissingError(f"there is no object under {path}") from exc

    def list(self, prefix: str = "") -> Iterator[str]:
        """See :meth:`vna.store.port.Store.list`. Symbolic links are not followed and not listed."""
        root = str(self.root)
        begin = len(root.rstrip("/")) + 1
        stack = [f"{root}/{checked(prefix)}" if prefix else root]
        while stack:
            folder = stack.pop()
            with store_errors("the store could not be listed"):
                try:
                    with os.scandir(folder) as found:
                        entries = sorted(found, key=lambda entry: entry.name)
                except (FileNotFoundError, NotADirectoryError):
                    continue
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    yield entry.path[begin:]
            stack.extend(entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False))

    def sweep(self, *, entirely: bool = False) -> None:
        """Remove what single puts of processes that died left in the scratch folder; put off while anybody is putting.

        ``entirely`` removes the scratch folder too, if nothing else is in it: for a store that is left to others.
        """
        with store_errors("the scratch folder could not be swept"):
            try:
                with self._locked(_SCRATCH_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    locks = [_SCRATCH_LOCK, _RENAME_LOCK, _AMEND_LOCK] if entirely else []
                    for path in [*self._scratch.glob(f"{_PREFIX}*"), *(self._scratch / name for name in locks)]:
                        path.unlink(missing_ok=True)
            except BlockingIOError:
                return
            if entirely:
                self._known.discard(self._scratch)
                self._operations.remove_folder(self._scratch)

    # -- writing

    def _target(self, path: str) -> tuple[Path, str]:
        """Give the folder of an object, which is there now, and the object's own path as text: see :class:`Operations`."""
        folder = self._folder(checked(path).rpartition("/")[0])
        if folder not in self._known:
            self._ensure_folder(folder)
        self._check_trusted(folder)
        return folder, f"{self.url}/{path}"

    def _folder(self, prefix: str) -> Path:
        """Give the path of a folder below the root: the same object each time, which knows its own text and hash by then."""
        folder = self._folders.get(prefix)
        if folder is None:
            folder = self.root / prefix
            if len(self._folders) >= _KNOWN_FOLDERS:
                self._folders = {}
            self._folders[prefix] = folder
        return folder

    def _ensure_folder(self, folder: Path) -> None:
        """Make a folder and its parents, and force the names of all of them to the disk once in this store's life."""
        if folder in self._known:
            return
        self._ensure_folder(folder.parent)
        self._operations.make_folder(folder)
        # Also when it was there: another writer may have made it a moment ago and not have forced it to the disk yet.
        self._sync_folder(folder.parent)
        with self._lock:
            if len(self._known) >= _KNOWN_FOLDERS:
                self._known = {self.root}
            self._known.add(folder)

    def _name(self, local: Path | str, target: str) -> bool:
        if not self.keeps_source:
            return self._rename(local, target)
        try:
            self._into(target, self._operations.link, local)
        except FileExistsError:
            return False
        return True

    def _into(self, target: str, action: Callable[[Path | str, str], None], local: Path | str) -> None:
        """Do what needs the target's folder; once more if somebody has removed that since this store last saw it."""
        try:
            action(local, target)
        except FileNotFoundError:
            folder = Path(target).parent
            if folder.is_dir():
                raise
            with self._lock:
                self._known = {self.root}
            self._ensure_folder(folder)
            action(local, target)

    def _rename(self, local: Path | str, target: str) -> bool:
        with self._locked(_RENAME_LOCK, fcntl.LOCK_EX):
            if os.path.lexists(target):
                return False
            self._into(target, self._operations.rename, local)
        return True

    def _exchange(self, local: Path, target: str) -> bool:
        self._into(target, self._operations.rename, local)
        return True

    @contextmanager
    def _locked(self, name: str, kind: int) -> Iterator[None]:
        path = self._scratch / name
        self._ensure_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, APPEND_MODE)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _put(self, source: Readable | bytes, path: str, give_name: Callable[[Path, str], bool]) -> bool:
        """Write a scratch file, durably, and give it its final name; False where ``give_name`` says that it is taken."""
        folder, target = self._target(path)
        with self._locked(_SCRATCH_LOCK, fcntl.LOCK_SH):
            scratch = self._scratch / f"{_PREFIX}{secrets.token_hex(8)}"
            try:
                self._write(scratch, source)
                if not give_name(scratch, target):
                    return False
                self._sync_folder(folder)
            finally:
                self._operations.unlink(scratch)
        return True

    def _write(self, scratch: Path, source: Readable | bytes) -> None:
        descriptor = self._operations.create(scratch, FILE_MODE)
        try:
            if isinstance(source, bytes):
                self._operations.write(descriptor, source)
            elif copy_to := getattr(source, "copy_to", None):
                copy_to(descriptor)
            else:
                while chunk := source.read(_PIECE):
                    self._operations.write(descriptor, chunk)
            self._operations.sync(descriptor)
        finally:
            os.close(descriptor)

    def _sync_folder(self, folder: Path) -> None:
        """Force the names in a folder to the disk, once for all threads that ask at the same time.

        After a failure nothing in that folder can be acknowledged any more: what a second fsync says is not to be believed.
        """
        self._check_trusted(folder)
        with self._lock:
            group = self._syncs.get(folder)
            if group is None:
                if len(self._syncs) >= _KNOWN_SYNCS:
                    self._syncs = {}  # whoever waits in a group keeps it; the next one begins another
                group = self._syncs[folder] = GroupCommit(lambda: self._operations.sync_folder(folder))
        try:
            group.wait()
        except OSError:
            self._lost.add(folder)
            raise

    def _check_trusted(self, folder: Path) -> None:
        if self._lost and folder in self._lost:
            raise StoreError("an earlier fsync of the folder failed", hint="end this process, examine the disk, start again")

    def _probe_links(self) -> bool:
        """Try a hard link in the scratch folder, with the system's own calls: a probe is no part of the write order."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        first, second = (self._scratch / f"{_PREFIX}{secrets.token_hex(8)}" for _ in range(2))
        with self._locked(_SCRATCH_LOCK, fcntl.LOCK_SH):  # a writer that starts at the same time sweeps there
            first.touch(exist_ok=False)
            try:
                os.link(first, second)
            except OSError as exc:
                if exc.errno in NO_LINKS:
                    return False
                raise
            finally:
                first.unlink(missing_ok=True)
                second.unlink(missing_ok=True)
        return True


def _digest(path: str) -> str:
    """Give the SHA-256 of a file, or nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
