"""Keyed values: the same for one key, nothing in common for two; dates, ages and UIDs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vna.deid.values import Key, Patient, capped_age, dummy, read_key, shift_values
from vna.errors import ConfigError

ONE, OTHER = Key(b"one key of sufficient length"), Key(b"other key of sufficient length")
PATIENT = Patient(b"P1", b"HOSPITAL", b"1.2.3")


@given(st.from_regex(rb"[1-9][0-9]{0,6}(\.[1-9][0-9]{0,8}){1,6}", fullmatch=True))
def test_a_uid_is_valid_stable_and_of_its_key_alone(old: bytes) -> None:
    new = ONE.uid(old)
    assert new == Key(ONE.secret).uid(old) != OTHER.uid(old)
    assert new.startswith(b"2.25.") and len(new) <= 64 and new[5:6] != b"0"


def test_uids_of_the_standard_and_the_empty_uid_stay() -> None:
    for uid in (b"1.2.840.10008.1.4.1.1", b"1.2.840.10008.5.1.4.1.1.2", b""):
        assert ONE.uid(uid) == uid
    assert ONE.uid(b"1.2.840.10008.999.4711") != b"1.2.840.10008.999.4711"


def test_two_keys_share_no_pseudonym_and_an_issuer_tells_patients_apart() -> None:
    names = {key.patient_pseudonym(patient) for key in (ONE, OTHER) for patient in (PATIENT, Patient(b"P1", b"OTHER HOSPITAL"))}
    assert len(names) == 4
    assert all(len(name) == 16 and name.isalnum() for name in names)


def test_a_shift_goes_into_the_past_and_is_one_a_patient() -> None:
    shifts = [ONE.days(Patient(b"%d" % number)) for number in range(300)]
    assert all(-3652 <= days <= -1 for days in shifts)
    assert len(set(shifts)) > 200
    assert ONE.days(Patient(b"P1", b"HOSPITAL", b"9.9.9")) == ONE.days(PATIENT)
    assert ONE.days(Patient(b"", b"", b"1.1")) != ONE.days(Patient(b"", b"", b"1.2"))


@pytest.mark.parametrize(
    ("vr", "raw", "shifted"),
    [
        (b"DA", b"20240301", b"20240229"),
        (b"DA", b"2024.03.01", b"20240229"),
        (b"DA", b"20240301\\20240302 ", b"20240229\\20240301"),
        (b"DA", b"SMITH", b""),
        (b"DA", b"20241301", b""),
        (b"DA", b"20240301SMITH", b""),
        (b"DT", b"20240301081500.123+0100", b"20240229081500.123+0100"),
        (b"DT", b"202403", b""),
        (b"TM", b"081500.5", b"081500.5"),
        (b"TM", b"08:15:00", b"08:15:00"),
        (b"TM", b"SMITH", b""),
    ],
)
def test_dates_move_times_stay_and_anything_else_becomes_empty(vr: bytes, raw: bytes, shifted: bytes) -> None:
    assert shift_values(vr, raw, -1) == shifted


@pytest.mark.parametrize(
    ("vr", "raw", "kept"), [(b"DT", b"2024", b"2024"), (b"DA", b"20240301", b"20240301"), (b"DA", b"MOORE", b"")]
)
def test_a_shift_of_no_days_keeps_dates_and_nothing_else(vr: bytes, raw: bytes, kept: bytes) -> None:
    assert shift_values(vr, raw, 0) == kept


@pytest.mark.parametrize(
    ("age", "kept"),
    [
        (b"089Y", b"089Y"),
        (b"090Y", b"090Y"),
        (b"104Y", b"090Y"),
        (b"999M", b"999M"),
        (b"003W", b"003W"),
        (b"old", b""),
        (b"95", b""),
    ],
)
def test_ages_above_89_years_are_one(age: bytes, kept: bytes) -> None:
    assert capped_age(age) == kept


def test_a_dummy_fits_its_vr() -> None:
    assert dummy(b"DA") == b"19000101" and dummy(b"US") == b"\0\0" and dummy(b"SH") == b"REMOVED" and len(dummy(b"FD")) == 8


def test_a_key_that_is_too_short_or_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"secret\n")
    with pytest.raises(ConfigError, match="6 bytes"):
        read_key(tmp_path / "short")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "none")


def test_a_key_never_shows_itself() -> None:
    assert "sufficient" not in repr(ONE) and ONE.key_id != OTHER.key_id
