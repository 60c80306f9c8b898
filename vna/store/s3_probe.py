"""Find out what an S3 service really does, before anything is entrusted to it.

The protocol has many implementations. Some take conditions and ignore them, so that of eight writers each believes that its
object is the one that stands there. None says so; it is tried on a few small objects, which are removed again.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from indexer.answers import Answer, answer_of
from vna.errors import RefusedError, StoreError
from vna.store.s3_client import Connection, MissingError
from vna.store.s3_put import TOKEN, Capabilities

_RACERS = 8
_WHAT = "the service could not be probed"
_FIRST, _OTHER = b"the first object under this name\n", b"another object under this name!!\n"
_T = TypeVar("_T")
_ETAG_OF_NOTHING = '"00000000000000000000000000000000"'


def probe(connection: Connection, prefix: str) -> Capabilities:
    """Try out a service with objects below ``prefix``. Raises RefusedError that names what cannot be relied on."""
    return _Probe(connection, f"{prefix}probe-{secrets.token_hex(8)}/").run()


class _Probe:
    """One probe: its objects, and what the service did with them."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        self._client = connection.client
        self._prefix = prefix
        self._keys: set[str] = set()
        self._lies: list[str] = []

    def run(self) -> Capabilities:
        try:
            self._creating()
            if not self._lies:
                self._racing()
                self._reading()
                self._listing()
            self._refuse()
            return Capabilities(
                checks_digests=self._checks_digests(),
                conditional_multipart=self._conditional_multipart(),
                conditional_replace=self._conditional_replace(),
            )
        finally:
            self._clean_up()

    def _refuse(self) -> None:
        if self._lies:
            raise RefusedError(
                f"this S3 service cannot be trusted with an archive: {'; '.join(self._lies)}",
                hint="use a service with conditional writes and strong consistency, such as AWS S3, MinIO, Ceph or SeaweedFS",
            )

    # -- what must be so

    def _creating(self) -> None:
        first = self._put("object", _FIRST, IfNoneMatch="*")
        if first is not None:
            self._lies.append(f"it does not take a conditional put (If-None-Match): {first.code} ({first.status})")
            return
        again = self._put("object", _OTHER, IfNoneMatch="*")
        if again is None:
            self._lies.append("it overwrites an object although the put was conditional (If-None-Match)")
        elif not again.is_conflict and again.status != 409:
            self._lies.append(f"it answers a conditional put of a taken name by {again.code} ({again.status}) instead of 412")
        head = self._ask(lambda: self._client.head_object(**self._names("object"), **self._connection.read_options))
        if head.get("Metadata", {}).get(TOKEN) != self._prefix:
            self._lies.append("it does not keep the metadata of an object, so lost answers could not be resolved")

    def _racing(self) -> None:
        with ThreadPoolExecutor(_RACERS) as pool:
            answers = list(pool.map(lambda n: self._put("race", b"racer %d" % n, IfNoneMatch="*"), range(_RACERS)))
        winners = [n for n, answer in enumerate(answers) if answer is None]
        if len(winners) != 1:
            self._lies.append(
                f"of {_RACERS} writers that created one object at once, {len(winners)} were told that theirs stands"
            )
        elif self._get("race") != b"racer %d" % winners[0]:
            self._lies.append("it told a writer that its object stands, and keeps another one's")

    def _reading(self) -> None:
        if self._get("object") != _FIRST:
            self._lies.append("it does not give back the bytes that were put")
        if self._get("object", Range="bytes=4-8") != _FIRST[4:9]:
            self._lies.append("it does not give the range of an object that was asked for")
        with suppress(MissingError):
            self._ask(lambda: self._client.head_object(**self._names("nothing"), **self._connection.read_options))
            self._lies.append("it shows an object where there is none")

    def _listing(self) -> None:
        shown = self._ask(lambda: self._client.list_objects_v2(Bucket=self._connection.bucket, Prefix=self._prefix))
        names = sorted(str(each["Key"]).removeprefix(self._prefix) for each in shown.get("Contents", ()))
        if names != ["object", "race"]:
            self._lies.append("its LIST does not show the objects that were put just before")

    # -- what is better so

    def _checks_digests(self) -> bool:
        answer = self._put("wrong", _FIRST, checksum=_checksum(_OTHER))
        if answer is None:
            return False
        try:
            head = self._ask(
                lambda: self._client.head_object(**self._names("object"), ChecksumMode="ENABLED", **self._connection.read_options)
            )
        except StoreError:
            return False
        return bool(head.get("ChecksumSHA256") == _checksum(_FIRST))

    def _conditional_multipart(self) -> bool:
        names = self._names("object")
        options, customer = self._connection.write_options, self._connection.read_options
        try:
            upload = self._client.create_multipart_upload(
                **names, Metadata={TOKEN: self._prefix}, ChecksumAlgorithm="SHA256", **options
            )
        except (ClientError, BotoCoreError):
            return False
        names["UploadId"] = upload["UploadId"]
        try:
            part = self._client.upload_part(**names, PartNumber=1, Body=_OTHER, ChecksumSHA256=_checksum(_OTHER), **customer)
            parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": _checksum(_OTHER)}]
            self._client.complete_multipart_upload(**names, MultipartUpload={"Parts": parts}, IfNoneMatch="*", **customer)
        except (ClientError, BotoCoreError) as exc:
            refused = answer_of(exc).is_conflict
            with suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(**names)
            return refused and self._get("object") == _FIRST
        return False

    def _conditional_replace(self) -> bool:
        refused = self._put("object", _OTHER, IfMatch=_ETAG_OF_NOTHING)
        if refused is None or not refused.is_conflict or self._get("object") != _FIRST:
            return False
        head = self._ask(lambda: self._client.head_object(**self._names("object"), **self._connection.read_options))
        return self._put("object", _OTHER, IfMatch=head["ETag"]) is None and self._get("object") == _OTHER

    # -- requests

    def _put(self, name: str, data: bytes, *, checksum: str = "", **condition: str) -> Answer | None:
        """Put an object; None when the service took it, else what it said. Raises StoreError when it does not answer.

        The bytes are others than those that stand there, and so tell whether a put was taken whose answer was lost.
        """
        self._keys.add(name)
        options = self._connection.write_options
        asked = 0

        def put() -> Answer | None:
            nonlocal asked
            asked += 1
            try:
                self._client.put_object(
                    **self._names(name),
                    Body=data,
                    ChecksumSHA256=checksum or _checksum(data),
                    Metadata={TOKEN: self._prefix},
                    **condition,
                    **options,
                )
            except ClientError as exc:
                answer = answer_of(exc)
                if answer.status in (401, 403) or answer.is_without_bucket or (answer.is_transient and answer.status != 409):
                    raise
                return answer
            return None

        answer = self._ask(put)
        is_told_late = asked > 1 and answer is not None and (answer.is_conflict or answer.status == 409)
        return None if is_told_late and self._get(name) == data else answer

    def _get(self, name: str, **options: str) -> bytes:
        def get() -> bytes:
            response: Mapping[str, Any] = self._client.get_object(**self._names(name), **options, **self._connection.read_options)
            return bytes(response["Body"].read())

        return self._ask(get)

    def _ask(self, request: Callable[[], _T]) -> _T:
        return self._connection.ask(_WHAT, request)

    def _names(self, name: str) -> dict[str, Any]:
        return {"Bucket": self._connection.bucket, "Key": f"{self._prefix}{name}"}

    def _clean_up(self) -> None:
        for name in self._keys:
            with suppress(ClientError, BotoCoreError):
                self._client.delete_object(**self._names(name))


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")
