"""Manifests: one list of digests a study, which ``sha256sum -c`` reads from the archive's root.

A manifest is derived: it can be made again from the journal and the objects. It grows with its study and is replaced atomically,
only as it was read: machines that list objects of one study at the same time lose no line of each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vna.archive.layout import INSTANCES, manifest_path
from vna.archive.rows import JournalRow
from vna.store import Store

_LINE = re.compile(rf"([0-9a-f]{{64}})  ({INSTANCES}/[^\s]+)")


def write_manifests(store: Store, rows: Iterable[JournalRow]) -> int:
    """Add objects to the manifests of their studies; return how many manifests changed. Objects in quarantine have none."""
    return extend_manifests(store, ((row.study_instance_uid, row.path, row.sha256) for row in rows))


def extend_manifests(store: Store, objects: Iterable[tuple[str | None, str, str]]) -> int:
    """Do as :func:`write_manifests` does for objects given by their Study Instance UID, path and SHA-256."""
    studies: dict[str, dict[str, str]] = {}
    for study, path, sha256 in objects:
        if study and path.startswith(f"{INSTANCES}/"):
            studies.setdefault(study, {})[path] = sha256
    return sum(_extend(store, manifest_path(study), entries) for study, entries in studies.items())


def read_manifest(store: Store, path: str) -> dict[str, str]:
    """Read the manifest at a path: path -> SHA-256; empty if there is none. Lines that are none are left out."""
    return _listed(store.read_bytes(path)) if store.exists(path) else {}


def _listed(manifest: bytes) -> dict[str, str]:
    matches = map(_LINE.fullmatch, manifest.decode("ascii", "replace").splitlines())
    return {match[2]: match[1] for match in matches if match}


def _extend(store: Store, path: str, entries: dict[str, str]) -> bool:
    def extended(found: bytes | None) -> bytes | None:
        listed = _listed(found or b"")
        # What is listed was recorded first; a digest once recorded is never exchanged for another.
        merged = {**entries, **listed}
        if merged == listed:
            return None
        return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(merged.items())).encode("ascii")

    return store.amend_bytes(path, extended)
