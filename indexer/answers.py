"""What a failed request to an S3 service says, and what follows from it: the one table of its error codes.

The codes decide, and the HTTP status only where there is none that is known: services answer the same thing by different ones
(AWS says ExpiredToken with 400, others with 403). The archive's store reads this table too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

DENIED = "AccessDenied"
"""Either credentials that may not do it, or one object that they may not have: its own ACL, or the key that it lies under."""

_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_OF_THE_OBJECT = frozenset({DENIED, "InvalidObjectState"})  # the latter lies in an archive class, and must be restored first
_FULL = frozenset({"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "EntityTooLarge.Quota"})
_UNREACHABLE = frozenset({"EndpointConnectionError", "ConnectTimeoutError"})
_AGAIN = frozenset(
    {
        "InternalError",
        "KMS.ThrottlingException",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a failed request said: the HTTP status (0 if none came) and the service's code or the kind of failure."""

    status: int
    code: str

    def __str__(self) -> str:
        return f"{self.code} ({self.status})" if self.status else self.code

    @property
    def is_conflict(self) -> bool:
        """Whether something stands there already (the condition was not met)."""
        return self.status == 412 or self.code == "PreconditionFailed"

    @property
    def is_missing(self) -> bool:
        """Whether there is no such object."""
        return self.code in ("NoSuchKey", "404", "NotFound") or (self.status == 404 and not self.is_without_bucket)

    @property
    def is_without_bucket(self) -> bool:
        """Whether there is no such bucket."""
        return self.code == "NoSuchBucket"

    @property
    def is_full(self) -> bool:
        """Whether the service has no room left."""
        return self.code in _FULL or self.status == 507

    @property
    def is_unreachable(self) -> bool:
        """Whether nobody answers at that address."""
        return self.code in _UNREACHABLE

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later; whether it was applied is not known then."""
        if self.code in _FULL or self.status == 501:
            return False
        return self.status == 0 or self.status in (408, 409, 429) or self.status >= 500 or self.code in _AGAIN

    @property
    def is_of_credentials(self) -> bool:
        """Whether the credentials are refused whatever they ask for, so that no other request will do better."""
        return self.code in _CREDENTIALS or (self.status in (401, 403) and self.code not in _OF_THE_OBJECT)

    @property
    def is_refusal(self) -> bool:
        """Whether these credentials may not do what was asked, be it this or anything."""
        return self.is_of_credentials or self.code == DENIED or self.status in (401, 403)


def answer_of(exc: Exception) -> Answer:
    """Tell what a failed request said."""
    if isinstance(exc, ClientError):
        response: Mapping[str, Any] = exc.response
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        return Answer(status, str(response.get("Error", {}).get("Code") or status))
    return Answer(0, type(exc).__name__)
