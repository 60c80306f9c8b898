"""Keyed replacement values: pseudonyms, UIDs, dates and ages that depend on the key and the old value alone.

Everything here is a pure function of (key, old value), so that any number of workers in any order write the same bytes, every
reference follows what it refers to, and two keys share nothing. The key is never written; :attr:`Key.key_id` names it.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from pydicom._uid_dict import UID_dictionary

from vna.errors import ConfigError

MINIMUM_KEY_BYTES = 16
MAXIMUM_SHIFT_DAYS = 3652
WELL_KNOWN_UIDS = frozenset(uid.encode() for uid in UID_dictionary)
"""What PS3.6 Annex A registers (SOP classes, transfer syntaxes, well-known frames of reference, ...) is never replaced."""

DUMMY_DATE = b"19000101"
DUMMY_TEXT = b"REMOVED"

_DATE = re.compile(rb"(\d{4})([.]?)(\d{2})\2(\d{2})$")
_DATE_TIME = re.compile(rb"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?$")
_PARTIAL_DATE_TIME = re.compile(rb"(?:\d{4}|\d{6})(?:[+-]\d{4})?$|" + _DATE_TIME.pattern)
_TIME = re.compile(rb"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?$")
_AGE = re.compile(rb"(\d{3})([DWMY])$")
_YEARS = {b"D": 365.25, b"W": 52.18, b"M": 12, b"Y": 1}
_BASE_32 = bytes(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[byte & 31] for byte in range(256))
_CACHED_UIDS = 200_000


@dataclass(slots=True)
class Key:
    """A site's secret key and the values derived from it (HMAC-SHA256). Pickles to workers; its repr does not show it."""

    secret: bytes = field(repr=False)
    key_id: str = field(init=False)
    _uids: dict[bytes, bytes] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.secret) < MINIMUM_KEY_BYTES:
            raise ConfigError(
                f"the key has {len(self.secret)} bytes; at least {MINIMUM_KEY_BYTES} are needed",
                hint="make one with: head -c 32 /dev/urandom | base64 > deid.key; chmod 600 deid.key",
            )
        self.key_id = self.digest("key-id", b"").hex()[:12]

    def digest(self, purpose: str, value: bytes) -> bytes:
        """Derive 32 bytes for one purpose; equal values of different purposes share nothing."""
        return hmac.digest(self.secret, purpose.encode() + b"|" + value, "sha256")

    def uid(self, old: bytes) -> bytes:
        """Map one UID: a UUID-derived one under 2.25 (PS3.5 B.2); DICOM's own UIDs and the empty one stay as they are."""
        new = self._uids.get(old)
        if new is None:
            if not old or old in WELL_KNOWN_UIDS:
                return old
            new = b"2.25.%d" % int.from_bytes(self.digest("uid", old)[:16], "big")
            if len(self._uids) > _CACHED_UIDS:
                self._uids.clear()
            self._uids[old] = new
        return new

    def pseudonym(self, kind: str, old: bytes, characters: int = 16) -> bytes:
        """Map an identifier to ``characters`` (at most 16, so that VR SH holds it) of base 32; the empty one stays empty."""
        if not old:
            return b""
        return self.digest(kind, old)[:characters].translate(_BASE_32)

    def patient_pseudonym(self, patient: Patient) -> bytes:
        """Map a patient to the new Patient ID."""
        return self.pseudonym("patient", patient.identity) if patient.patient_id else b""

    def days(self, patient: Patient) -> int:
        """Give the one shift of a patient's dates, in days: from -3652 to -1, so never 0 and never into the future."""
        seed = patient.identity if patient.patient_id else b"study|" + patient.study_instance_uid
        return -1 - int.from_bytes(self.digest("date", seed)[:8], "big") % MAXIMUM_SHIFT_DAYS


@dataclass(frozen=True, slots=True)
class Patient:
    """Whose object it is: (issuer, ID) as bytes without padding, and the study, which stands in where there is no ID."""

    patient_id: bytes
    issuer: bytes = b""
    study_instance_uid: bytes = b""

    @property
    def identity(self) -> bytes:
        """Give what the pseudonym and the shift are derived from."""
        return self.issuer + b"|" + self.patient_id


def read_key(path: Path) -> Key:
    """Read a key file; white space at its end is no part of the key. Raises ConfigError when it cannot serve."""
    try:
        return Key(path.read_bytes().strip())
    except OSError as exc:
        raise ConfigError(f"the key file {path} cannot be read: {exc.strerror}") from exc


def shift_values(vr: bytes, raw: bytes, days: int) -> bytes:
    """Shift every date of a DA or DT value by ``days``; times (TM) are kept. What cannot be parsed becomes empty, never stays.

    With 0 days a well-formed value stays as it is written.
    """
    if not days and _is_temporal(vr, raw):
        return raw
    shift = {b"DA": _shift_date, b"DT": _shift_date_time}.get(vr, _checked_time)
    return b"\\".join(shift(value.strip(b" \0"), days) for value in raw.split(b"\\"))


def _shift_date(value: bytes, days: int) -> bytes:
    found = _DATE.match(value)
    if found is None:
        return b""
    try:
        shifted = date(int(found[1]), int(found[3]), int(found[4])) + timedelta(days)
    except (ValueError, OverflowError):
        return b""
    return b"%04d%02d%02d" % (shifted.year, shifted.month, shifted.day)


def _shift_date_time(value: bytes, days: int) -> bytes:
    found = _DATE_TIME.match(value)
    if found is None:
        return b""
    shifted = _shift_date(found[1], days)
    return shifted + (found[2] or b"") + (found[3] or b"") if shifted else b""


def _checked_time(value: bytes, days: int) -> bytes:
    return value if _TIME.match(value) else b""


def _is_temporal(vr: bytes, raw: bytes) -> bool:
    pattern = {b"DA": _DATE, b"DT": _PARTIAL_DATE_TIME}.get(vr, _TIME)
    return all(not value or pattern.match(value) for value in (part.strip(b" \0") for part in raw.split(b"\\")))


def capped_age(raw: bytes) -> bytes:
    """Give an age as it may stay: above 89 years it reads 090Y; what is no age becomes empty (PS3.15 E.3.4, HIPAA)."""
    value = raw.strip(b" \0")
    found = _AGE.match(value)
    if found is None:
        return b""
    return b"090Y" if int(found[1]) / _YEARS[found[2]] >= 90 else value


_DUMMIES = {
    b"DA": DUMMY_DATE,
    b"DT": DUMMY_DATE + b"000000",
    b"TM": b"000000",
    b"AS": b"000Y",
    b"IS": b"0",
    b"DS": b"0",
    b"UI": b"2.25.0",
}
_BINARY = {b"US": 2, b"SS": 2, b"UL": 4, b"SL": 4, b"FL": 4, b"AT": 4, b"FD": 8, b"UV": 8, b"SV": 8}


def dummy(vr: bytes) -> bytes:
    """Give a value that says nothing and is valid for ``vr``: PS3.15's action D."""
    if vr in _BINARY:
        return bytes(_BINARY[vr])
    if vr in (b"OB", b"OW", b"UN", b"OF", b"OD", b"OL", b"OV"):
        return bytes(8)
    return _DUMMIES.get(vr, DUMMY_TEXT)
