"""Give up uploads in parts that nobody goes on with: what writers left that died, which nobody sees and which is paid for.

The protocol does not tell whose an upload is. But a writer that lives adds a part within minutes, or gives its upload up itself
(:class:`vna.store.s3_client.Retry` bounds how long it tries), so an upload that nothing was added to for a day has no writer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from vna.store.s3_client import Connection, MissingError

log = logging.getLogger(__name__)

IDLE = timedelta(days=1)
"""After so long without a new part an upload is given up."""

_WHAT = "unfinished uploads could not be looked for"
_Page = Mapping[str, Any]


def give_up_idle(connection: Connection, root: str, folders: tuple[str, ...], before: datetime | None = None) -> int:
    """Abort every upload to a key below one of ``folders`` under ``root`` whose last part came ``before`` that time; count them.

    The default is :data:`IDLE` ago. Time is told by the service's clock alone. Raises StoreError when the service does not list
    its uploads.
    """
    count = 0
    for page in _pages(connection, root):
        limit = before or time_of(page) - IDLE
        for upload in page.get("Uploads", ()):
            key = str(upload["Key"])
            names = {"Bucket": connection.bucket, "Key": key, "UploadId": str(upload["UploadId"])}
            if key.removeprefix(root).startswith(folders):
                with suppress(MissingError):  # it was completed, or given up, meanwhile
                    count += _give_up(connection, names, upload["Initiated"], limit)
    return count


def _pages(connection: Connection, root: str) -> Iterator[_Page]:
    client, bucket = connection.client, connection.bucket
    following: dict[str, str] = {}
    while True:
        page: _Page = connection.ask(_WHAT, lambda: client.list_multipart_uploads(Bucket=bucket, Prefix=root, **following))  # noqa: B023
        yield page
        if not page.get("IsTruncated"):
            return
        following = {"KeyMarker": str(page["NextKeyMarker"]), "UploadIdMarker": str(page["NextUploadIdMarker"])}


def _give_up(connection: Connection, names: Mapping[str, str], begun: datetime, limit: datetime) -> bool:
    """Abort one upload, unless something was added to it since ``limit``."""
    last, following = begun, {"MaxParts": 1000}
    while True:
        page: _Page = connection.ask(_WHAT, lambda: connection.client.list_parts(**names, **following))  # noqa: B023
        last = max((last, *(part["LastModified"] for part in page.get("Parts", ()))))
        if last >= limit:
            return False
        if not page.get("IsTruncated"):
            break
        following = {"PartNumberMarker": int(page["NextPartNumberMarker"])}
    connection.ask(_WHAT, lambda: connection.client.abort_multipart_upload(**names))
    log.info("an unfinished upload of a writer that died was given up")
    return True


def time_of(answer: _Page) -> datetime:
    """Tell the service's time when it gave an answer."""
    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(str(said)) if said else datetime.now(UTC)
