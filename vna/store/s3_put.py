"""Put an object so that afterwards one knows what stands there: by whom, whole, and with which bytes.

Each put bears a token of its own in the object's metadata, which for a published spool file is its name. When an answer is lost,
whoever reads the object's head later can tell by the token whether the put was applied, and whether by this caller. The digest
stands there too, so that whoever reads the object can compare without asking anybody else.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from indexer.answers import answer_of
from vna.errors import DigestMismatchError, StoreError
from vna.store.operations import store_errors
from vna.store.s3_client import Connection, MissingError, failure
from vna.store.s3_file import open_object

log = logging.getLogger(__name__)

TOKEN = "vna-put"  # noqa: S105 - a name of metadata, no secret
SHA256 = "vna-sha256"
"""Metadata of every object: the token of its put, and its digest in hexadecimal."""

_WHAT = "the object could not be put"
_PIECE = 1 << 20
_PART = 16 << 20
_PARTS = 9_000
ONE_PUT = 5 << 30
"""The most that S3 takes in one put."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a service was found to do (:mod:`vna.store.s3_probe`).

    ``checks_digests``: a put whose bytes are not those of its checksum is refused. ``conditional_multipart``: completing a
    multipart upload obeys If-None-Match. ``conditional_replace``: a put obeys If-Match.
    """

    checks_digests: bool = False
    conditional_multipart: bool = False
    conditional_replace: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What is to be put: bytes or a file, its size and its digest."""

    source: bytes | Path
    size: int
    sha256: bytes

    @classmethod
    def of(cls, source: bytes | Path) -> Content:
        """Measure and hash what is to be put."""
        if isinstance(source, bytes):
            return cls(source, len(source), hashlib.sha256(source).digest())
        with store_errors(_WHAT), source.open("rb") as file:
            return cls(source, source.stat().st_size, hashlib.file_digest(file, "sha256").digest())

    def open(self) -> BinaryIO:
        """Open it for reading; the caller closes it."""
        if isinstance(self.source, bytes):
            return BytesIO(self.source)
        with store_errors(_WHAT):
            return self.source.open("rb")


@dataclass(frozen=True)
class Putter:
    """Puts objects over one connection to a service whose capabilities are known."""

    connection: Connection
    capabilities: Capabilities
    multipart_above: int = 64 << 20
    part_size: int = _PART

    def create(self, key: str, content: Content, token: str = "") -> bool:
        """Put an object where nothing stands. True when it is this one that stands there now, proved; False when another does.

        An object with this ``token`` is this one, whenever it was put; without one, that of no other call is.
        Raises DigestMismatchError when the service keeps other bytes (they are taken away again), StoreError when it cannot be
        put or nobody can tell whether it was.
        """
        token = token or secrets.token_hex(16)
        checksum = _encoded(content.sha256)
        if content.size > self.multipart_above and self.capabilities.conditional_multipart:
            if self._head(key) is not None:
                return False
            applied, checksum = self._multipart(key, content, token)
        else:
            applied = self._single(key, content, token, {"IfNoneMatch": "*"})
        if applied is None:
            return False
        self._prove(key, content, token, applied, checksum)
        return True

    def replace(self, key: str, content: Content, etag: str = "") -> bool:
        """Put an object in the place of what stands there; with ``etag``, only of that. False when that is not there any more."""
        condition = {"IfMatch": etag} if etag and self.capabilities.conditional_replace else {}
        return self._put(key, content, condition, shared=False)

    def amend(self, key: str, content: Content, etag: str) -> bool:
        """Do as :meth:`replace` does for an object that others amend too; with no ``etag``, only where nothing stands.

        One of theirs may stand there by the time that this one is proved: they were given this one's bytes, and digest, then.
        """
        if not etag:
            return self._put(key, content, {"IfNoneMatch": "*"}, shared=True)
        return self._put(key, content, {"IfMatch": etag} if self.capabilities.conditional_replace else {}, shared=True)

    def _put(self, key: str, content: Content, condition: Mapping[str, str], *, shared: bool) -> bool:
        token = secrets.token_hex(16)
        applied = self._single(key, content, token, condition)
        if applied is None:
            return False
        try:
            self._prove(key, content, token, applied, _encoded(content.sha256))
        except StoreError:
            if not shared or self._head(key) is None or self._ours(key, token) is not None:
                raise
        return True

    # -- one put

    def _single(self, key: str, content: Content, token: str, condition: Mapping[str, str]) -> Mapping[str, Any] | None:
        """Put with repetitions; give the answer, or the head of the object where the answer was lost; None for a refusal."""
        if content.size > ONE_PUT:
            raise StoreError(
                f"{_WHAT}: it is larger than one put may be, and the service's multipart uploads overwrite what is there",
                hint="use a service that obeys conditions on CompleteMultipartUpload",
            )

        def put() -> Mapping[str, Any]:
            with content.open() as body:
                response: Mapping[str, Any] = self.connection.client.put_object(
                    **self._names(key),
                    Body=body,
                    ContentLength=content.size,
                    ChecksumSHA256=_encoded(content.sha256),
                    Metadata=_metadata(content, token),
                    **condition,
                    **self.connection.write_options,
                )
            return response

        return self._decided(key, token, put)

    def _decided(self, key: str, token: str, request: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Make a conditional request until its outcome is known: its answer, our object's head, or None for another's object."""
        retry = self.connection.retry
        last: StoreError | None = None
        for attempt in range(1, retry.attempts + 1):
            try:
                return request()
            except (ClientError, BotoCoreError) as exc:
                answer = answer_of(exc)
                last = failure(_WHAT, answer, self.connection.bucket)
                last.__cause__ = exc
            if answer.is_conflict:
                return self._ours(key, token)  # a lost answer may have been a success
            if not answer.is_transient:
                head = self._ours(key, token) if answer.is_missing else None  # nor is there an upload after it was completed
                if head is None:
                    raise last
                return head
            log.debug("put: %s %s, attempt %d", answer.status, answer.code, attempt)
            retry.pause(attempt)
        head = self._head(key)
        if head is None or not has_token(head, token):
            raise last or StoreError(_WHAT)
        return head

    def _ours(self, key: str, token: str) -> Mapping[str, Any] | None:
        head = self._head(key)
        return head if head is not None and has_token(head, token) else None

    # -- in parts

    def _multipart(self, key: str, content: Content, token: str) -> tuple[Mapping[str, Any] | None, str]:
        """Put in parts; give the object's head, None for a refusal, and the checksum of checksums that S3 makes of the parts."""
        client, ask = self.connection.client, self.connection.ask
        writing, customer = self.connection.write_options, self.connection.read_options
        upload = ask(
            _WHAT,
            lambda: client.create_multipart_upload(
                **self._names(key), Metadata=_metadata(content, token), ChecksumAlgorithm="SHA256", **writing
            ),
        )
        names = {**self._names(key), "UploadId": upload["UploadId"]}
        completed = False
        try:
            parts = self._parts(names, content)

            def complete() -> Mapping[str, Any]:
                response: Mapping[str, Any] = client.complete_multipart_upload(
                    **names, MultipartUpload={"Parts": parts}, IfNoneMatch="*", **customer
                )
                return response

            applied = self._decided(key, token, complete)
            completed = applied is not None
        finally:
            if not completed:
                with suppress(StoreError):
                    ask(_WHAT, lambda: client.abort_multipart_upload(**names))
        digests = b"".join(base64.b64decode(part["ChecksumSHA256"]) for part in parts)
        checksum = f"{_encoded(hashlib.sha256(digests).digest())}-{len(parts)}"
        return (self._head(key) if applied is not None else None), checksum

    def _parts(self, names: Mapping[str, str], content: Content) -> list[dict[str, Any]]:
        size = max(self.part_size, -(-content.size // _PARTS))
        parts: list[dict[str, Any]] = []
        with content.open() as file, store_errors(_WHAT):
            while data := file.read(size):
                parts.append(self._part(names, len(parts) + 1, data, _encoded(hashlib.sha256(data).digest())))
        return parts

    def _part(self, names: Mapping[str, str], number: int, data: bytes, checksum: str) -> dict[str, Any]:
        response = self.connection.ask(
            _WHAT,
            lambda: self.connection.client.upload_part(
                **names, PartNumber=number, Body=data, ChecksumSHA256=checksum, **self.connection.read_options
            ),
        )
        return {"PartNumber": number, "ETag": response["ETag"], "ChecksumSHA256": checksum}

    # -- proof

    def _prove(self, key: str, content: Content, token: str, answer: Mapping[str, Any], checksum: str) -> None:
        """Make sure that the service keeps what was put: by the checksum that it computed, or by reading it back."""
        if self.capabilities.checks_digests and answer.get("ChecksumSHA256") == checksum:
            return
        if self.digest(key) == content.sha256:
            return
        self._take_away(key, token)
        raise DigestMismatchError("the service keeps other bytes than were put", hint="examine the service before going on")

    def digest(self, key: str) -> bytes:
        """Read an object back and give its SHA-256."""
        total = hashlib.sha256()
        with open_object(self.connection, key) as file:
            while chunk := file.read(_PIECE):
                total.update(chunk)
        return total.digest()

    def _take_away(self, key: str, token: str) -> None:
        """Remove what this put made and nobody was told of, so that no damaged object stays visible."""
        if self._ours(key, token) is not None:
            self.connection.ask(_WHAT, lambda: self.connection.client.delete_object(**self._names(key)))

    def _head(self, key: str) -> Mapping[str, Any] | None:
        client, names = self.connection.client, self._names(key)
        try:
            head: Mapping[str, Any] = self.connection.ask(
                _WHAT, lambda: client.head_object(**names, ChecksumMode="ENABLED", **self.connection.read_options)
            )
        except MissingError:
            return None
        return head

    def _names(self, key: str) -> dict[str, str]:
        return {"Bucket": self.connection.bucket, "Key": key}


def _metadata(content: Content, token: str) -> dict[str, str]:
    return {TOKEN: token, SHA256: content.sha256.hex()}


def has_token(head: Mapping[str, Any], token: str) -> bool:
    """Tell whether the head of an object is that of the put with this token."""
    return bool(head.get("Metadata", {}).get(TOKEN) == token)


def _encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
