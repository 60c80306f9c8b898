"""Where an object stands in the archive: paths as a function of UIDs and digests alone (docs/store-format.md).

A UID that has the form ``[0-9.]{1,64}`` is its own path part. Everything else - letters, ``../..``, nothing at all, dots alone -
is encoded injectively with digits and the letters a-f behind a letter that no plain UID begins with, so that no UID of any
origin can leave its folder or meet another one's.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

DESCRIPTION = "vna-archive.json"
INSTANCES = "instances"
QUARANTINE = "quarantine"
MANIFESTS = "manifests"
JOURNAL = "journal"
SPOOL = "spool"
OWED = "owed"
INDEX_INSTANCES = "index/instances"
INDEX_OVERLAYS = "index/overlays"
INDEX_STUDIES = "index/studies"

_PLAIN = re.compile(r"[0-9.]{1,64}", re.ASCII)
_SPELLED_OUT_BYTES = 64
_VARIANT_DIGITS = 12
_MATERIALISED = re.compile(r"\.r\d+\.dcm$", re.ASCII)


def path_part(uid: str) -> str:
    """Encode a UID as one part of a path: itself if it is plain, else ``x`` + hexadecimal, or ``h`` + SHA-256 for a long one."""
    if _PLAIN.fullmatch(uid) and uid.strip("."):
        return uid
    raw = uid.encode("utf-8", "surrogatepass")
    if len(raw) <= _SPELLED_OUT_BYTES:
        return "x" + raw.hex()
    return "h" + hashlib.sha256(raw).hexdigest()


def study_prefix(study_instance_uid: str) -> str:
    """Return ``hh``: the first two hexadecimal digits of SHA-256 of the Study Instance UID as received."""
    return hashlib.sha256(study_instance_uid.encode("utf-8", "surrogatepass")).hexdigest()[:2]


def instance_path(study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> str:
    """Return the path of the first object that came under these UIDs."""
    return f"{_series_folder(study_instance_uid, series_instance_uid)}/{path_part(sop_instance_uid)}.dcm"


@lru_cache(maxsize=4096)
def _series_folder(study_instance_uid: str, series_instance_uid: str) -> str:
    prefix = f"{INSTANCES}/{study_prefix(study_instance_uid)}"
    return f"{prefix}/{path_part(study_instance_uid)}/{path_part(series_instance_uid)}"


def variant_path(path: str, sha256: str) -> str:
    """Return the path of another object under the UIDs of the one at ``path``."""
    return f"{path.removesuffix('.dcm')}~{sha256[:_VARIANT_DIGITS]}.dcm"


def is_variant(path: str) -> bool:
    """Tell whether a path is that of a variant."""
    return path.startswith(f"{INSTANCES}/") and "~" in path


def is_materialised(path: str) -> bool:
    """Tell whether a path is that of a corrected file that was written beside its object (``<SOP>.r<N>.dcm``)."""
    return _MATERIALISED.search(path) is not None


def quarantine_path(sha256: str) -> str:
    """Return the path of bytes that cannot be filed. ``hh`` is that of the digest, since there may be no study."""
    return f"{QUARANTINE}/{sha256[:2]}/{sha256}.dcm"


def reason_path(sha256: str) -> str:
    """Return the path of the record that says why an object is in quarantine."""
    return f"{QUARANTINE}/{sha256[:2]}/{sha256}.json"


def manifest_path(study_instance_uid: str) -> str:
    """Return the path of a study's manifest, which ``sha256sum -c`` reads from the archive's root."""
    return f"{MANIFESTS}/{study_prefix(study_instance_uid)}/{path_part(study_instance_uid)}.sha256"
