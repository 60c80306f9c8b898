"""Every status that pynetdicom's tables know is classified as there."""

from __future__ import annotations

import pytest
from pynetdicom import status as reference

from vna.dimse.statuses import GENERAL, SPECIFIC, Service, StatusClass, classify, code

TABLES = {
    Service.ECHO: reference.VERIFICATION_SERVICE_CLASS_STATUS,
    Service.STORE: reference.STORAGE_SERVICE_CLASS_STATUS,
    Service.FIND: reference.QR_FIND_SERVICE_CLASS_STATUS,
    Service.MOVE: reference.QR_MOVE_SERVICE_CLASS_STATUS,
    Service.GET: reference.QR_GET_SERVICE_CLASS_STATUS,
    Service.N: reference.STORAGE_COMMITMENT_SERVICE_CLASS_STATUS,
}


@pytest.mark.parametrize("service", Service)
def test_every_registered_status_has_its_class(service: Service) -> None:
    for number, (category, _) in TABLES[service].items():
        assert classify(service, number).status_class == category.lower(), code(number)


@pytest.mark.parametrize("service", Service)
def test_every_possible_status_has_a_text_and_a_reference(service: Service) -> None:
    for number in range(0x10000):
        status = classify(service, number)
        assert status.first <= number <= status.last
        assert status.text
        assert status.reference


@pytest.mark.parametrize(
    ("service", "number", "transient"),
    [
        (Service.STORE, 0xA700, True),
        (Service.STORE, 0xA7FE, True),
        (Service.STORE, 0xA779, False),
        (Service.STORE, 0xA900, False),
        (Service.STORE, 0xC123, False),
        (Service.STORE, 0x0122, False),
        (Service.STORE, 0x0124, False),
        (Service.STORE, 0x0110, True),
        (Service.STORE, 0x0213, True),
        (Service.STORE, 0xFFFB, False),
        (Service.MOVE, 0xA702, True),
        (Service.MOVE, 0xA801, False),
        (Service.FIND, 0xA700, True),
    ],
)
def test_what_may_go_better_another_time_is_told_from_what_will_not(service: Service, number: int, transient: bool) -> None:
    status = classify(service, number)
    assert status.status_class is StatusClass.FAILURE
    assert status.transient is transient


def test_an_unknown_warning_is_a_warning_and_an_unknown_status_a_failure() -> None:
    assert classify("C-STORE", 0xB123).status_class is StatusClass.WARNING
    assert classify("C-ECHO", 0x4711).status_class is StatusClass.FAILURE


def test_only_failures_are_transient() -> None:
    for status in (*GENERAL, *(entry for entries in SPECIFIC.values() for entry in entries)):
        assert not status.transient or status.status_class is StatusClass.FAILURE
