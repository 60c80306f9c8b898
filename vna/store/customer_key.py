"""The key of server-side encryption with a key of the site's own (SSE-C): from the environment, never from a file of ours."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Any

from vna.errors import ConfigError

VARIABLE = "VNA_SSE_CUSTOMER_KEY"
"""The variable of the environment that holds it, in base64."""

_KEY_BYTES = 32


def with_customer_key(storage_options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Complete storage options that ask for SSE-C and have no key. Raises ConfigError where the environment has none either."""
    options = dict(storage_options or {})
    extra = dict(options.get("s3_additional_kwargs") or {})
    if "SSECustomerAlgorithm" not in extra or "SSECustomerKey" in extra:
        return options
    try:
        key = base64.b64decode(os.environ.get(VARIABLE, ""), validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigError(f"SSE-C needs a key of 32 bytes, in base64, in {VARIABLE}", hint="make one: openssl rand -base64 32")
    return {**options, "s3_additional_kwargs": {**extra, "SSECustomerKey": key}}
