"""Objects in a bucket of S3: listed page by page, read by ranges.

Credentials come from the environment, as for every AWS tool, or from the options of the caller; they stand in no message.
"""

from __future__ import annotations

import errno
import random
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError, ProfileNotFound
from botocore.session import Session

from indexer.answers import Answer, answer_of
from indexer.errors import IndexerError, UsageError
from indexer.found import Found, moment

IN_FLIGHT = 16
"""How many requests one process makes at the same time."""

_ATTEMPTS = 8
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 10.0
_OPTIONS = {
    "key": "aws_access_key_id",
    "secret": "aws_secret_access_key",
    "token": "aws_session_token",
    "endpoint_url": "endpoint_url",
}
_RENEW = "the credentials are refused or have expired: renew them, and allow s3:GetObject and ListBucket"
_T = TypeVar("_T")


class ChangedError(Exception):
    """The object is not the version any more whose first bytes were read."""


class ShortAnswerError(OSError):
    """An answer does not have the bytes that were asked for; asked again, it may."""


class Bucket:
    """What stands below ``s3://bucket/prefix``. Thread-safe."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        name, _, prefix = url.partition("://")[2].strip("/").partition("/")
        if not name:
            raise UsageError(f"{url} names no bucket", hint="write s3://bucket/prefix")
        self.url = f"s3://{name}/{prefix}".rstrip("/")
        self.name = name
        self._root = f"{prefix}/" if prefix else ""
        self._client = _client(storage_options or {})

    def list(self, table_url: str = "") -> Iterator[Found]:
        """List every object, names relative to the prefix, in the service's order; a table that lies inside is left out."""
        own = f"s3://{table_url.partition('://')[2]}".removeprefix(f"s3://{self.name}/").strip("/") + "/"
        following: dict[str, str] = {}
        while True:
            page = self._page(following)
            for each in page.get("Contents", ()):
                key = str(each["Key"])
                if not key.endswith("/") and not key.startswith(own):
                    name = key.removeprefix(self._root).encode("utf-8", "surrogatepass")
                    yield Found(name, int(each["Size"]), version_of(each["LastModified"], str(each["ETag"])))
            if not page.get("IsTruncated"):
                return
            following = {"ContinuationToken": str(page["NextContinuationToken"])}

    def _page(self, following: Mapping[str, str]) -> Mapping[str, Any]:
        what = "the bucket could not be listed"

        def page() -> Mapping[str, Any]:
            answer: Mapping[str, Any] = self._client.list_objects_v2(Bucket=self.name, Prefix=self._root, **following)
            return answer

        try:
            return self.ask(what, page)
        except PermissionError as exc:
            raise IndexerError(f"{what}: {exc.strerror}", hint=_RENEW) from exc

    def read(self, name: bytes, start: int, length: int, etag: str = "") -> tuple[bytes, Mapping[str, Any]]:
        """Read a range of an object; gives what there is of it, and the answer's head.

        With ``etag``, of that version only: raises ChangedError when there is another. Raises FileNotFoundError when there is no
        object, OSError when this one cannot be read, IndexerError when the service does not answer or refuses everything.
        """
        arguments = {"Bucket": self.name, "Key": self._root + name.decode("utf-8", "surrogatepass")}
        if etag:
            arguments["IfMatch"] = etag

        def get() -> tuple[bytes, Mapping[str, Any]]:
            try:
                answer = self._client.get_object(**arguments, Range=f"bytes={start}-{start + length - 1}")
            except ClientError as exc:
                if answer_of(exc).status != 416:
                    raise
                answer = self._client.get_object(**arguments)  # an object without bytes has no range
                length_now = int(answer["ContentLength"])
                if length_now > start:
                    raise ShortAnswerError from exc
            data = bytes(answer["Body"].read())
            _check_range(answer, data, start, length)
            return data, answer

        return self.ask("an object could not be read", get)

    def ask(self, what: str, request: Callable[[], _T]) -> _T:
        """Make a request, again with growing pauses where the service or the network fails. For errors see :meth:`read`."""
        for attempt in range(1, _ATTEMPTS):
            try:
                return self._once(what, request)
            except _PassingError:
                time.sleep(random.uniform(0.3, 1) * min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt))  # noqa: S311 - jitter
        try:
            return self._once(what, request)
        except _PassingError as exc:
            raise IndexerError(f"{what}: {exc}", hint="run the same command again: it goes on where it ended") from exc

    def _once(self, what: str, request: Callable[[], _T]) -> _T:
        try:
            return request()
        except ClientError as exc:
            raise self._meaning(what, answer_of(exc)) from exc
        except (NoCredentialsError, PartialCredentialsError) as exc:
            raise _no_credentials() from exc
        except (BotoCoreError, OSError) as exc:
            raise _PassingError(type(exc).__name__) from exc

    def _meaning(self, what: str, answer: Answer) -> Exception:
        """Make the error of an answer: of this object alone (OSError, ChangedError), of this moment, or of everything."""
        if answer.is_conflict:
            return ChangedError()
        if answer.is_without_bucket:
            return UsageError(f"there is no bucket {self.name}")
        if answer.is_missing:
            return FileNotFoundError(errno.ENOENT, "there is no such object")
        if answer.is_transient or answer.status >= 500:
            return _PassingError(str(answer))
        if answer.is_of_credentials:
            return IndexerError(f"{what}: {answer}", hint=_RENEW)
        return PermissionError(errno.EACCES, answer.code)


class _PassingError(Exception):
    """The same request may succeed later."""


def version_of(last_modified: datetime, etag: str) -> datetime:
    """Tell versions of an object apart: the second in which it became durable, with a fraction made from its ETag.

    A service tells the time in whole seconds, within which an object may be replaced by another one of the same size.
    """
    return moment(int(last_modified.timestamp()) * 1_000_000 + zlib.crc32(etag.strip('"').encode()) % 1_000_000)


def _check_range(answer: Mapping[str, Any], data: bytes, start: int, length: int) -> None:
    """Raise ShortAnswerError unless an answer is the range that was asked for, whole."""
    total = size_of(answer)
    if len(data) != max(0, min(length, total - start)):
        raise ShortAnswerError
    said = str(answer.get("ContentRange") or f"bytes 0-{total - 1}/{total}")
    if data and not said.startswith(f"bytes {start}-"):
        raise ShortAnswerError


def size_of(answer: Mapping[str, Any]) -> int:
    """Tell the size of the object whose range an answer gives."""
    total = str(answer.get("ContentRange") or "").rpartition("/")[2]
    return int(total) if total.isdigit() else int(answer["ContentLength"])


def _client(options: Mapping[str, Any]) -> Any:
    arguments = {name: options[given] for given, name in _OPTIONS.items() if options.get(given)}
    arguments |= dict(options.get("client_kwargs") or {})
    settings: dict[str, Any] = {
        "connect_timeout": 10,
        "read_timeout": 60,
        "max_pool_connections": IN_FLIGHT,
        "retries": {"total_max_attempts": 1, "mode": "standard"},  # repetitions are ours: a body may break off too
        "response_checksum_validation": "when_required",
    }
    session = Session(profile=options.get("profile"))
    try:
        if arguments.get("endpoint_url") or session.get_config_variable("endpoint_url"):
            settings["s3"] = {"addressing_style": "path"}
        arguments.setdefault("region_name", session.get_config_variable("region") or "us-east-1")
        if not arguments.get("aws_access_key_id") and session.get_credentials() is None:
            raise NoCredentialsError
        return session.create_client("s3", config=Config(**{**settings, **dict(options.get("config_kwargs") or {})}), **arguments)
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as exc:
        raise _no_credentials() from exc
    except (BotoCoreError, TypeError, ValueError) as exc:
        raise UsageError(f"the options for S3 cannot be used: {type(exc).__name__}") from exc


def _no_credentials() -> UsageError:
    return UsageError(
        "there are no credentials for S3",
        hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, in the environment",
    )
