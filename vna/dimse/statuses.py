"""Every DIMSE status, classified: PS3.7 Annex C for all services, PS3.4 for the ranges that each service defines.

A status nobody registered is a failure, and not one to try again: what cannot be explained must reach a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final


class Service(StrEnum):
    """The services whose statuses differ. ``N`` stands for all of N-CREATE, N-SET, N-GET, N-ACTION, N-EVENT-REPORT, N-DELETE."""

    ECHO = "C-ECHO"
    STORE = "C-STORE"
    FIND = "C-FIND"
    MOVE = "C-MOVE"
    GET = "C-GET"
    N = "N"


class StatusClass(StrEnum):
    """The five classes of PS3.7 Annex C."""

    SUCCESS = "success"
    PENDING = "pending"
    WARNING = "warning"
    FAILURE = "failure"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Status:
    """What a status means. ``first`` to ``last`` is its range; ``transient`` says that the same request may succeed later."""

    first: int
    last: int
    status_class: StatusClass
    text: str
    reference: str
    transient: bool = False


@lru_cache(maxsize=1024)
def code(status: int) -> str:
    """Spell a status as it stands in outcomes and reports: ``0xA700``."""
    return f"0x{status:04X}"


_S, _P, _W, _F, _C = StatusClass.SUCCESS, StatusClass.PENDING, StatusClass.WARNING, StatusClass.FAILURE, StatusClass.CANCEL
_PS37 = "PS3.7 Annex C"


def _one(number: int, status_class: StatusClass, text: str, reference: str = _PS37, *, transient: bool = False) -> Status:
    return Status(number, number, status_class, text, reference, transient)


GENERAL: Final = (
    _one(0x0000, _S, "success"),
    _one(0x0001, _W, "requested optional attributes are not supported"),
    _one(0x0105, _F, "no such attribute"),
    _one(0x0106, _F, "invalid attribute value"),
    _one(0x0107, _W, "attribute list error"),
    _one(0x0110, _F, "processing failure", transient=True),
    _one(0x0111, _F, "duplicate SOP instance"),
    _one(0x0112, _F, "no such SOP instance"),
    _one(0x0113, _F, "no such event type"),
    _one(0x0114, _F, "no such argument"),
    _one(0x0115, _F, "invalid argument value"),
    _one(0x0116, _W, "attribute value out of range"),
    _one(0x0117, _F, "invalid SOP instance"),
    _one(0x0118, _F, "no such SOP class"),
    _one(0x0119, _F, "class-instance conflict"),
    _one(0x0120, _F, "missing attribute"),
    _one(0x0121, _F, "missing attribute value"),
    _one(0x0122, _F, "refused: SOP class not supported"),
    _one(0x0123, _F, "no such action"),
    _one(0x0124, _F, "refused: not authorised"),
    _one(0x0210, _F, "duplicate invocation", transient=True),
    _one(0x0211, _F, "unrecognised operation"),
    _one(0x0212, _F, "mistyped argument"),
    _one(0x0213, _F, "resource limitation", transient=True),
    _one(0xFE00, _C, "cancelled"),
)
"""Statuses that any service may return."""

_STORE, _FIND, _MOVE, _GET = "PS3.4 Table B.2-1", "PS3.4 Table C.4-1", "PS3.4 Table C.4-2", "PS3.4 Table C.4-3"


def _retrieve(reference: str, partial: str) -> tuple[Status, ...]:
    return (
        _one(0xFF00, _P, "sub-operations are continuing", reference),
        _one(0xA701, _F, "refused: out of resources, number of matches unknown", reference, transient=True),
        _one(0xA702, _F, "refused: out of resources, sub-operations cannot be performed", reference, transient=True),
        Status(0xA700, 0xA7FF, _F, "refused: out of resources", reference, transient=True),
        _one(0xA801, _F, "refused: move destination unknown", reference),
        _one(0xA900, _F, "identifier does not match SOP class", reference),
        _one(0xAA00, _F, "none of the frames requested were found", reference),
        _one(0xAA01, _F, "unable to create new object for this SOP class", reference),
        _one(0xAA02, _F, "unable to extract frames", reference),
        _one(0xAA03, _F, "time-based request for an instance that is not time-based", reference),
        _one(0xAA04, _F, "invalid request", reference),
        _one(0xB000, _W, partial, reference),
        Status(0xC000, 0xCFFF, _F, "unable to process", reference),
    )


SPECIFIC: Final[dict[Service, tuple[Status, ...]]] = {
    Service.ECHO: (),
    Service.STORE: (
        _one(0xA779, _F, "refused: belongs to another patient there (dcm4chee)", "dcm4chee-arc-light"),
        Status(0xA700, 0xA7FF, _F, "refused: out of resources", _STORE, transient=True),
        Status(0xA900, 0xA9FF, _F, "data set does not match SOP class", _STORE),
        _one(0xB000, _W, "coercion of data elements", _STORE),
        _one(0xB006, _W, "elements discarded", _STORE),
        _one(0xB007, _W, "data set does not match SOP class, stored", _STORE),
        Status(0xC000, 0xCFFF, _F, "cannot understand", _STORE),
    ),
    Service.FIND: (
        _one(0xFF00, _P, "matches are continuing", _FIND),
        _one(0xFF01, _P, "matches are continuing, optional keys are not supported", _FIND),
        Status(0xA700, 0xA70F, _F, "refused: out of resources", _FIND, transient=True),
        _one(0xA710, _F, "invalid prior record key", "PS3.4 Table C.4-1 (Repository Query)"),
        _one(0xA900, _F, "identifier does not match SOP class", _FIND),
        _one(0xB001, _W, "response limit reached, there are more matches", "PS3.4 Table C.4-1 (Repository Query)"),
        Status(0xC000, 0xCFFF, _F, "unable to process", _FIND),
    ),
    Service.MOVE: _retrieve(_MOVE, "sub-operations complete, one or more failures"),
    Service.GET: _retrieve(_GET, "sub-operations complete, one or more failures or warnings"),
    Service.N: (_one(0x0131, _F, "duplicate transaction UID", "PS3.3 C.14"),),
}
"""Statuses of one service, the narrower range before the wider one."""


@lru_cache(maxsize=1024)
def classify(service: Service | str, status: int) -> Status:
    """Say what ``status`` means as the answer of ``service``. Never fails: what nobody registered is a failure."""
    for entry in (*SPECIFIC[Service(service)], *GENERAL):
        if entry.first <= status <= entry.last:
            return entry
    if status >> 12 == 0xB:
        return _one(status, _W, "a warning that the service does not define", _PS37)
    return _one(status, _F, "a status that nobody registered", _PS37)
