"""Tables on S3: the options of its two clients, and whether a service keeps the promise that the transaction log stands on.

A commit is a file that must not exist yet. A service that takes the condition (If-None-Match) and ignores it lets every one of
several writers believe that its commit stands, and all but one are lost in silence; so it is tried out before the first commit.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import fsspec

from indexer.errors import IndexerError, UntrustedServiceError

_RACERS = 4
_TRUSTED: set[tuple[str, str]] = set()
_SCHEMES = ("s3://", "s3a://")
_OPTIONS = {
    "key": "AWS_ACCESS_KEY_ID",
    "secret": "AWS_SECRET_ACCESS_KEY",
    "token": "AWS_SESSION_TOKEN",
    "endpoint_url": "AWS_ENDPOINT_URL",
}


def is_remote(url: str) -> bool:
    """Tell whether a table is on S3."""
    return url.startswith(_SCHEMES)


def delta_options(url: str, storage_options: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Translate s3fs's storage options, which the configuration uses, to those of the Delta library; None for local tables."""
    if not is_remote(url):
        return None
    given = dict(storage_options or {})
    options = {"AWS_REGION": "us-east-1", "aws_conditional_put": "etag"}
    for source in (given, given.get("client_kwargs") or {}):
        options.update({name: str(source[key]) for key, name in _OPTIONS.items() if source.get(key)})
        if source.get("region_name"):
            options["AWS_REGION"] = str(source["region_name"])
    if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return options


def require_conditional_writes(url: str, storage_options: Mapping[str, Any] | None) -> None:
    """Raise UntrustedServiceError if of several writers that create one object more than one succeeds, or a later one does.

    It is tried once a process and bucket, on an object of some bytes beside the table's files, which is removed again. Raises
    IndexerError when the service does not answer.
    """
    given = dict(storage_options or {})
    fs, root = fsspec.core.url_to_fs(url, **given)
    bucket, _, prefix = root.partition("/")
    service = str(given.get("endpoint_url") or (given.get("client_kwargs") or {}).get("endpoint_url") or ""), bucket
    if service in _TRUSTED:
        return
    key = f"{prefix}/_probe-{secrets.token_hex(8)}"

    def create(number: int) -> bool:
        try:
            fs.call_s3("put_object", Bucket=bucket, Key=key, Body=b"%d" % number, IfNoneMatch="*")
        except OSError as exc:
            if _is_conflict(exc):
                return False
            raise
        return True

    try:
        with ThreadPoolExecutor(_RACERS) as pool:
            outcomes = list(pool.map(create, range(_RACERS)))
        winners = [number for number, created in enumerate(outcomes) if created]
        kept = fs.cat_file(f"{bucket}/{key}")
        if not winners:  # the winner's answer was lost, and the client's library asked again and was refused: what it put tells
            winners = [number for number in range(_RACERS) if kept == b"%d" % number]
        again = create(_RACERS)
        kept = fs.cat_file(f"{bucket}/{key}")
    except OSError as exc:
        raise IndexerError(f"the service of {url} could not be tried out: {exc}") from exc
    finally:
        with suppress(OSError):
            fs.rm_file(f"{bucket}/{key}")
    if again or len(winners) != 1 or kept != b"%d" % winners[0]:
        raise UntrustedServiceError(
            f"the service of {url} overwrites objects although it was asked not to (If-None-Match): of {_RACERS} writers that "
            f"created one object at once {len(winners)} were told that theirs stands, so that commits would be lost",
            hint="use a service with conditional writes, such as AWS S3, MinIO, Ceph or SeaweedFS",
        )
    _TRUSTED.add(service)


def _is_conflict(exc: BaseException) -> bool:
    """Tell whether a conditional put was refused because the object stands; s3fs gives that several forms."""
    found: BaseException | None = exc
    while found is not None:
        response = getattr(found, "response", None)
        if isinstance(response, Mapping):
            status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode")
            return status in (409, 412)
        found = found.__cause__
    return isinstance(exc, FileExistsError)
