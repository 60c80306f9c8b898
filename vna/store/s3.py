"""A store in a bucket of S3, or of a service that speaks its protocol and passes the probe.

An object is put whole, on the condition that nothing stands there, with its SHA-256, which the service verifies or else is
verified by reading back. Large ones go up in parts that nobody sees before the last request. Nothing is streamed into a name.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from botocore.exceptions import FlexibleChecksumError

from vna.errors import ConfigError, DigestMismatchError, InstanceMissingError, StoreError
from vna.store.operations import store_errors
from vna.store.port import WRITE_ONCE, Readable, checked, replaceable
from vna.store.s3_client import Connection, MissingError, Retry, connect
from vna.store.s3_file import open_object
from vna.store.s3_probe import probe
from vna.store.s3_put import SHA256, Capabilities, Content, Putter, has_token
from vna.store.s3_sweep import give_up_idle, time_of

log = logging.getLogger(__name__)

_PIECE = 1 << 20
_AT_ONCE = 8
_PROBES = "spool/"
_LITTLE_PATIENCE = Retry(attempts=4)


class S3Store:
    """A :class:`vna.store.port.Store` under ``s3://bucket/prefix``. Thread-safe; cheap to open for reading.

    ``storage_options`` are those of s3fs: ``key``, ``secret``, ``token``, ``profile``, ``endpoint_url``, ``client_kwargs``,
    ``config_kwargs``, and in ``s3_additional_kwargs`` what goes with every object (server-side encryption, storage class).
    Credentials that they do not name come from the environment. Raises ConfigError for options that cannot be used.
    """

    keeps_source = True

    def __init__(
        self,
        url: str,
        storage_options: Mapping[str, Any] | None = None,
        *,
        retry: Retry | None = None,
        multipart_above: int = 64 << 20,
    ) -> None:
        bucket, _, prefix = url.partition("://")[2].rstrip("/").partition("/")
        if not bucket:
            raise ConfigError(f"{url} names no bucket", hint="write s3://bucket/prefix")
        self.url = url.rstrip("/")
        self._root = f"{prefix}/" if prefix else ""
        self._connection = connect(bucket, storage_options, retry or Retry())
        self._multipart_above = multipart_above
        self._probing = threading.Lock()
        self._found: Capabilities | None = None

    def reach(self) -> None:
        """Make sure, with little patience, that the service answers, knows us, and has the bucket. Raises StoreError if not."""
        client, bucket = self._connection.client, self._connection.bucket
        hasty = replace(self._connection, retry=_LITTLE_PATIENCE)
        hasty.ask("the bucket cannot be used", lambda: client.list_objects_v2(Bucket=bucket, Prefix=self._root, MaxKeys=1))

    def probe(self) -> Capabilities:
        """Find out, once, what the service does. Raises RefusedError, naming it, where an archive cannot rest on that.

        The first write does it by itself. It puts a few small objects below ``spool/`` and removes them, and gives up the
        unfinished uploads of writers that died.
        """
        with self._probing:
            if self._found is None:
                self._found = probe(self._connection, f"{self._root}{_PROBES}")
                try:
                    self.sweep()
                except StoreError as exc:
                    log.warning("%s", exc)  # what is left costs money and nothing else
            return self._found

    def sweep(self, before: datetime | None = None) -> int:
        """Give up uploads in parts that nothing was added to since ``before`` (default: for a day); say how many there were."""
        return give_up_idle(self._connection, self._root, (*WRITE_ONCE, _PROBES), before)

    # -- writing

    def publish(self, files: Sequence[tuple[Path | str, str]]) -> list[bool]:
        """See :meth:`vna.store.port.Store.publish`. Several go up at the same time."""
        for _, path in files:
            checked(path)
        if len(files) == 1:
            return [self._publish(*files[0])]
        self.probe()
        # Of several files for one path the first is the one that stands there, as on a disk.
        by_path: dict[str, list[Path | str]] = {}
        for local, path in files:
            by_path.setdefault(path, []).append(local)
        with ThreadPoolExecutor(min(_AT_ONCE, len(by_path) or 1), thread_name_prefix="vna-s3") as pool:
            done = pool.map(lambda path: [self._publish(local, path) for local in by_path[path]], by_path)
            answers = dict(zip(by_path, map(iter, done), strict=True))
        return [next(answers[path]) for _, path in files]

    def _publish(self, file: Path | str, path: str) -> bool:
        local = Path(file)
        return self._putter().create(self._key(path), Content.of(local), _token_of(local))

    def put_file(self, local: Path, path: str) -> bool:
        """See :meth:`vna.store.port.Store.put_file`."""
        key = self._key(path)
        return self._putter().create(key, Content.of(local))

    def put_stream(self, source: Readable, path: str) -> bool:
        """See :meth:`vna.store.port.Store.put_stream`. It goes through a temporary file, to be whole before it is put."""
        checked(path)
        with store_errors("the object could not be spooled"), tempfile.NamedTemporaryFile(prefix="vna-s3-") as spooled:
            while chunk := source.read(_PIECE):
                spooled.write(chunk)
            spooled.flush()
            return self.put_file(Path(spooled.name), path)

    def put_bytes(self, data: bytes, path: str) -> bool:
        """See :meth:`vna.store.port.Store.put_bytes`."""
        key = self._key(path)
        return self._putter().create(key, Content.of(data))

    def replace_bytes(self, data: bytes, path: str) -> None:
        """See :meth:`vna.store.port.Store.replace_bytes`."""
        key = self._key(replaceable(path))
        self._putter().replace(key, Content.of(data))

    def amend_bytes(self, path: str, amend: Callable[[bytes | None], bytes | None]) -> bool:
        """See :meth:`vna.store.port.Store.amend_bytes`: conditional on the ETag of what was read, or on nothing being there.

        A service that does not know If-Match replaces whatever stands there: what another machine made of it at the same time
        is lost. Raises StoreError where others are always in between.
        """
        key, putter = self._key(replaceable(path)), self._putter()
        retry = self._connection.retry
        for attempt in range(1, retry.attempts + 1):
            try:
                found, etag = self._get(path)
            except InstanceMissingError:
                found, etag = None, ""
            amended = amend(found)
            if amended is None:
                return False
            content = Content.of(amended)
            try:
                if putter.amend(key, content, etag):
                    return True
            except MissingError:
                log.debug("what was to be amended was taken away meanwhile")
            retry.pause(attempt)
        raise StoreError("the object is amended by too many at once", hint="try again")

    def replace_damaged(self, local: Path, path: str, damaged: str) -> None:
        """See :meth:`vna.store.port.Store.replace_damaged`: conditional on the ETag of what was read and compared."""
        key = self._key(path)
        putter = self._putter()
        if not putter.capabilities.conditional_replace:
            raise StoreError("the service cannot exchange an object on a condition (If-Match)", hint="restore it by hand")
        head = self._head(path)
        try:
            found = putter.digest(key).hex()
        except StoreError:
            found = ""
        if found != damaged or not putter.replace(key, Content.of(local), str(head["ETag"])):
            raise DigestMismatchError("the object is not the damaged one any more", hint="scrub again")

    # -- what stands there

    def came_from(self, local: Path, path: str) -> bool:
        """See :meth:`vna.store.port.Store.came_from`. A published object bears the name of the spool file that it was."""
        try:
            return has_token(self._head(path), _token_of(local))
        except InstanceMissingError:
            return False

    def settle(self, path: str) -> bool:
        """See :meth:`vna.store.port.Store.settle`. What a service shows as a whole object is durable."""
        self._head(path)
        return True

    def open(self, path: str) -> BinaryIO:
        """See :meth:`vna.store.port.Store.open`. Read by ranges; what breaks off is read on."""
        try:
            return open_object(self._connection, self._key(path))
        except MissingError as exc:
            raise InstanceMissingError(f"there is no object under {path}") from exc

    def read_bytes(self, path: str) -> bytes:
        """See :meth:`vna.store.port.Store.read_bytes`. Compared with the digest that it was put with."""
        return self._get(path)[0]

    def _get(self, path: str) -> tuple[bytes, str]:
        """Read an object as a whole, and the ETag that it has."""
        key = self._key(path)

        def get() -> tuple[bytes, str]:
            answer = self._connection.client.get_object(
                Bucket=self._connection.bucket, Key=key, ChecksumMode="ENABLED", **self._connection.read_options
            )
            return _whole(bytes(answer["Body"].read()), answer), str(answer["ETag"])

        try:
            return self._connection.ask("the object could not be read", get)
        except MissingError as exc:
            raise InstanceMissingError(f"there is no object under {path}") from exc
        except StoreError as exc:
            if isinstance(exc.__cause__, FlexibleChecksumError | _WrongBytesError):
                raise DigestMismatchError("the service gives other bytes than it took", hint="examine the service") from exc
            raise

    def exists(self, path: str) -> bool:
        """See :meth:`vna.store.port.Store.exists`."""
        try:
            self._head(path)
        except InstanceMissingError:
            return False
        return True

    def size(self, path: str) -> int:
        """See :meth:`vna.store.port.Store.size`."""
        return int(self._head(path)["ContentLength"])

    def age_s(self, path: str) -> float:
        """See :meth:`vna.store.port.Store.age_s`."""
        head = self._head(path)
        return float((time_of(head) - head["LastModified"]).total_seconds())

    def list(self, prefix: str = "") -> Iterator[str]:
        """See :meth:`vna.store.port.Store.list`."""
        start = f"{self._key(prefix)}/" if prefix else self._root
        following: dict[str, str] = {}
        while True:
            page = self._page(start, following)
            for each in page.get("Contents", ()):
                name = str(each["Key"])
                if not name.endswith("/"):
                    yield name.removeprefix(self._root)
            if not page.get("IsTruncated"):
                return
            if not page.get("NextContinuationToken"):
                raise StoreError("the service breaks its list off and does not say how to go on", hint="examine the service")
            following = {"ContinuationToken": str(page["NextContinuationToken"])}

    # -- parts of the above

    def _page(self, start: str, following: Mapping[str, str]) -> Mapping[str, Any]:
        def listed() -> Mapping[str, Any]:
            page: Mapping[str, Any] = self._connection.client.list_objects_v2(
                Bucket=self._connection.bucket, Prefix=start, **following
            )
            return page

        return self._connection.ask("the store could not be listed", listed)

    def _putter(self) -> Putter:
        return Putter(self._connection, self.probe(), self._multipart_above)

    def _key(self, path: str) -> str:
        return f"{self._root}{checked(path)}"

    def _head(self, path: str) -> Mapping[str, Any]:
        connection, key = self._connection, self._key(path)
        try:
            return connection.ask(
                "the object could not be examined",
                lambda: connection.client.head_object(Bucket=connection.bucket, Key=key, **connection.read_options),
            )
        except MissingError as exc:
            raise InstanceMissingError(f"there is no object under {path}") from exc


def _token_of(local: Path) -> str:
    """Name a spool file as no other ever was: by its writer and its number."""
    return f"{local.parent.name}/{local.name}"


class _WrongBytesError(OSError):
    """A body does not have the digest that its head tells; asked for again, it may."""


def _whole(data: bytes, answer: Mapping[str, Any]) -> bytes:
    """Return a body if it has the digest that it was put with; objects that others put have none to compare with."""
    expected = answer.get("Metadata", {}).get(SHA256)
    if expected and hashlib.sha256(data).hexdigest() != expected:
        raise _WrongBytesError
    return data


def open_s3(url: str, storage_options: Mapping[str, Any] | None = None, *, writing: bool = True) -> S3Store:
    """Open a store on S3, which must answer soon; for ``writing``, find out if it can be trusted. See :class:`S3Store`.

    Raises StoreError where the service does not answer, the bucket is not there, or the credentials are refused.
    """
    store = S3Store(url, storage_options)
    store.reach()
    if writing:
        store.probe()
    return store


__all__ = ["Capabilities", "Connection", "Retry", "S3Store", "open_s3"]
