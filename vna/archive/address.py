"""Where an archive is: workers in other processes and on other hosts open it themselves, and make sure that it is the one."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vna.archive.layout import DESCRIPTION
from vna.errors import ConfigError, StoreError
from vna.store import Store, open_store

if TYPE_CHECKING:
    from vna.archive.archive import Archive


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of an archive, what opens its store, and the identity by which it is known again."""

    url: str
    archive_id: str
    storage_options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, archive: Archive) -> Address:
        """Give the address of an archive that is open here."""
        return cls(archive.url, archive.archive_id, archive.storage_options)

    def open(self) -> Store:
        """Open the store for reading. Raises StoreError where there is another archive, or none: see :meth:`confirm`."""
        store = open_store(self.url, self.storage_options, writing=False)
        self.confirm(store)
        return store

    def confirm(self, store: Store) -> None:
        """Make sure that the archive is still there: where a disk went away, or was never mounted, every object would be missing.

        Raises StoreError, naming this host.
        """
        try:
            found = json.loads(store.read_bytes(DESCRIPTION))["archive_id"]
        except (StoreError, ConfigError, ValueError, KeyError, TypeError) as exc:
            raise StoreError(
                f"{socket.gethostname()} finds no archive at {self.url}",
                hint="every worker must reach the archive under that address: a shared disk in the same place, or S3",
            ) from exc
        if found != self.archive_id:
            raise StoreError(f"{socket.gethostname()} finds another archive at {self.url}")
