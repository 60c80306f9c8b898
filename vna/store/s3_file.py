"""An object of S3 as a seekable file, read by range requests that go on where one broke off."""

from __future__ import annotations

import io
import logging
from typing import Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, ClientError

from indexer.answers import answer_of
from vna.errors import StoreError
from vna.store.s3_client import Connection, failure

log = logging.getLogger(__name__)

_BUFFER = 256 << 10
_SKIP = 256 << 10
_WHAT = "the object could not be read"


def open_object(connection: Connection, key: str) -> BinaryIO:
    """Open an object. Raises MissingError when there is none. Reading raises StoreError and never ends early in silence."""
    return cast(BinaryIO, io.BufferedReader(_ObjectReader(connection, key), _BUFFER))


class _ObjectReader(io.RawIOBase):
    """Streams one version of an object: its ETag holds from the first answer to the last."""

    def __init__(self, connection: Connection, key: str) -> None:
        super().__init__()
        self._connection = connection
        self._key = key
        self._position = 0
        self._body: Any = None
        self._body_at = 0
        head = connection.ask(_WHAT, lambda: connection.client.head_object(**self._names(), **connection.read_options))
        self._size = int(head["ContentLength"])
        self._etag = str(head.get("ETag", ""))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def close(self) -> None:
        self._let_go()
        super().close()

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._position)
        if wanted <= 0:
            return 0
        for attempt in range(1, self._connection.retry.attempts + 1):
            try:
                self._go_to(self._position)
                data = self._body.read(wanted)
            except (ClientError, BotoCoreError, OSError) as exc:
                self._let_go()
                answer = answer_of(exc)
                if answer.is_conflict or answer.is_missing:
                    raise StoreError("the object was changed while it was read", hint="read it again") from exc
                if not answer.is_transient or attempt == self._connection.retry.attempts:
                    raise failure(_WHAT, answer, self._connection.bucket) from exc
            else:
                if data:
                    view[: len(data)] = data
                    self._position += len(data)
                    self._body_at = self._position
                    return len(data)
                self._let_go()  # the body ended before the object does
            log.debug("reading on at %d of %d", self._position, self._size)
            self._connection.retry.pause(attempt)
        raise StoreError(f"{_WHAT}: the service gives fewer bytes than the object has", hint="examine the service")

    def _go_to(self, position: int) -> None:
        """Have a body that stands at ``position``: go on with the one there is, skip a little, or ask for the rest."""
        if self._body is not None and 0 < position - self._body_at <= _SKIP:
            while self._body_at < position and (skipped := self._body.read(position - self._body_at)):
                self._body_at += len(skipped)
        if self._body is not None and self._body_at == position:
            return
        self._let_go()
        arguments: dict[str, Any] = {**self._names(), **self._connection.read_options}
        if position:
            arguments["Range"] = f"bytes={position}-"
        if self._etag:
            arguments["IfMatch"] = self._etag
        response = self._connection.client.get_object(**arguments)
        began = str(response.get("ContentRange", "bytes 0-")).removeprefix("bytes ").partition("-")[0]
        if began != str(position):
            response["Body"].close()
            raise StoreError(f"{_WHAT}: the service does not give the range that was asked for", hint="examine the service")
        self._body, self._body_at = response["Body"], position

    def _let_go(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _names(self) -> dict[str, str]:
        return {"Bucket": self._connection.bucket, "Key": self._key}
