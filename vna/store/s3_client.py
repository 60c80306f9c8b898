"""The client of one S3 service: how it is made from storage options, what its errors mean, and how often to ask again.

Nothing above this package sees an exception of the client's library. Messages name codes and buckets, never keys or tokens.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError, ProfileNotFound
from botocore.session import Session

from indexer.answers import Answer, answer_of
from vna.errors import ConfigError, StoreError, StoreFullError
from vna.store.customer_key import with_customer_key

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_CONNECT_S = 10
_READ_S = 60
_CLIENT_OPTIONS = {
    "key": "aws_access_key_id",
    "secret": "aws_secret_access_key",
    "token": "aws_session_token",
    "endpoint_url": "endpoint_url",
    "use_ssl": "use_ssl",
}
_OPTIONS = frozenset({*_CLIENT_OPTIONS, "anon", "profile", "client_kwargs", "config_kwargs", "s3_additional_kwargs"})
_IGNORED = frozenset({"use_listings_cache", "skip_instance_cache"})
_CUSTOMER_KEY = frozenset({"SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5"})
_WRITE_OPTIONS = frozenset(
    {
        *_CUSTOMER_KEY,
        "ServerSideEncryption",
        "SSEKMSKeyId",
        "SSEKMSEncryptionContext",
        "BucketKeyEnabled",
        "StorageClass",
        "ExpectedBucketOwner",
    }
)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a request is made, and how long the pauses between are: exponential, capped, with full jitter."""

    attempts: int = 10
    first_wait_s: float = 0.1
    longest_wait_s: float = 20.0

    def pause(self, attempt: int) -> None:
        """Wait after the ``attempt``-th failure, counted from 1."""
        time.sleep(random.uniform(0, min(self.longest_wait_s, self.first_wait_s * 2**attempt)))  # noqa: S311 - jitter


@dataclass(frozen=True)
class Connection:
    """A client with what every request of a store carries."""

    client: Any
    bucket: str
    retry: Retry = field(default_factory=Retry)
    write_options: Mapping[str, Any] = field(default_factory=dict)
    read_options: Mapping[str, Any] = field(default_factory=dict)

    def ask(self, what: str, request: Callable[[], _T]) -> _T:
        """Make a request whose repetition changes nothing, as often as needed.

        Raises StoreError and its kinds (:func:`failure`); a missing object as :class:`MissingError`, for the caller to name.
        """
        for attempt in range(1, self.retry.attempts + 1):
            try:
                return request()
            except (ClientError, BotoCoreError, OSError) as exc:
                answer = answer_of(exc)
                if answer.is_missing:
                    raise MissingError(f"{what}: there is no such object") from exc
                if not answer.is_transient or attempt == self.retry.attempts:
                    raise failure(what, answer, self.bucket) from exc
                log.debug("%s: %s %s, attempt %d", what, answer.status, answer.code, attempt)
            self.retry.pause(attempt)
        raise AssertionError("unreachable")


class MissingError(StoreError):
    """The service says that there is no such object."""


def connect(bucket: str, storage_options: Mapping[str, Any] | None, retry: Retry) -> Connection:
    """Make a client from s3fs's storage options; what they do not say comes from the environment, as for every AWS tool.

    Raises ConfigError for options that are not known, and where no credentials are found.
    """
    options = {name: value for name, value in with_customer_key(storage_options).items() if name not in _IGNORED}
    unknown = sorted(set(options) - _OPTIONS)
    extra = dict(options.get("s3_additional_kwargs") or {})
    unknown += [f"s3_additional_kwargs.{name}" for name in sorted(set(extra) - _WRITE_OPTIONS)]
    if unknown:
        raise ConfigError(
            [f"[archive] storage_options: {name} is not known for S3" for name in unknown],
            hint=f"known: {', '.join(sorted(_OPTIONS))}; in s3_additional_kwargs: {', '.join(sorted(_WRITE_OPTIONS))}",
        )
    arguments = {name: options[given] for given, name in _CLIENT_OPTIONS.items() if options.get(given) is not None}
    arguments |= dict(options.get("client_kwargs") or {})
    try:
        session = Session(profile=options.get("profile"))
        arguments.setdefault("region_name", session.get_config_variable("region") or "us-east-1")
        given = dict(options.get("config_kwargs") or {})
        if options.get("anon"):
            given["signature_version"] = UNSIGNED
        elif not arguments.get("aws_access_key_id") and session.get_credentials() is None:
            raise NoCredentialsError
        has_endpoint = any((arguments.get("endpoint_url"), *map(os.environ.get, _ENDPOINTS)))
        config = _config(given, path_style=has_endpoint)
        client = session.create_client("s3", config=config, **arguments)
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as exc:
        raise ConfigError(
            "there are no credentials for S3",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, in the environment",
        ) from exc
    except (BotoCoreError, TypeError, ValueError) as exc:
        raise ConfigError(f"[archive] storage_options cannot be used for S3: {type(exc).__name__}") from exc
    reading = {name: value for name, value in extra.items() if name in _CUSTOMER_KEY or name == "ExpectedBucketOwner"}
    return Connection(client, bucket, retry, extra, reading)


def _config(given: Mapping[str, Any], *, path_style: bool) -> Config:
    settings: dict[str, Any] = {
        "connect_timeout": _CONNECT_S,
        "read_timeout": _READ_S,
        "max_pool_connections": 32,
        "tcp_keepalive": True,
        # Checksums are ours, and so are repetitions: a put must not be made twice without our knowing.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "retries": {"total_max_attempts": 1, "mode": "standard"},
    }
    if path_style:
        settings["s3"] = {"addressing_style": "path"}
    return Config(**{**settings, **dict(given), "retries": settings["retries"]})


def failure(what: str, answer: Answer, bucket: str) -> StoreError:
    """Make the store's error of what a failed request said."""
    said = str(answer)
    if answer.is_full:
        return StoreFullError(f"{what}: {said}", hint="raise the quota, then run the command again; nothing was acknowledged")
    if answer.is_without_bucket:
        return StoreError(f"{what}: there is no bucket {bucket}", hint="create the bucket, or name another one")
    if answer.is_refusal:
        return StoreError(
            f"{what}: {said}",
            hint="the credentials are refused or have expired: renew them, and allow s3:GetObject, PutObject and ListBucket",
        )
    if answer.is_unreachable:
        return StoreError(f"{what}: {said}", hint="does the service run, and is endpoint_url right?")
    return StoreError(f"{what}: {said}", hint="nothing was acknowledged; the same command goes on" if answer.is_transient else "")
