"""Check one stored object: scan its structure again, read its header, and ask every rule.

This is the worker's side: it runs in a pool's process and hands back findings, never an exception. The header scanner judges the
structure first; pydicom reads the elements only where that found nothing to run away with it (depth, counts, deflate bombs).
"""

from __future__ import annotations

import ctypes
import logging
import re
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from indexer.header import HeaderScanner
from indexer.problems import PROBLEMS, Disposition, Problem
from indexer.record import Header
from indexer.scan import check_tail, identity_problems
from vna.errors import StoreError
from vna.model import Finding, Severity
from vna.part10 import read_head
from vna.validate.elements import read_elements
from vna.validate.instance import Element, Instance, Pixels, name_of
from vna.validate.registry import CODES, MAX_FOUND, RULES, Code, Scope, define

log = logging.getLogger(__name__)

MAX_ELEMENTS = 200_000
"""Headers with more elements, nested ones included, are judged by their structure only: each costs 16 us and 0.5 KiB."""

OBJECT_UNREADABLE = define(
    "OBJECT_UNREADABLE",
    Severity.ERROR,
    "The index names an object that the store does not hold, or that cannot be read.",
    "storage",
    scope=Scope.INSTANCE,
)
CHECK_FAILED = define(
    "CHECK_FAILED",
    Severity.WARNING,
    "A rule failed on the object: it was not judged by it.",
    "this software",
    scope=Scope.INSTANCE,
)
HEADER_UNREADABLE = define(
    "HEADER_UNREADABLE",
    Severity.WARNING,
    "The structure is sound, but the header cannot be read: its values were not judged.",
    "PS3.5 7",
    scope=Scope.INSTANCE,
)
HEADER_TOO_LARGE = define(
    "HEADER_TOO_LARGE",
    Severity.INFO,
    "The header has so many elements that only its structure was judged.",
    "limit",
    scope=Scope.INSTANCE,
)
CHECK_TIMEOUT = define(
    "CHECK_TIMEOUT", Severity.WARNING, "The object took too long to check and was given up.", "limit", scope=Scope.INSTANCE
)
CHECK_CRASHED = define(
    "CHECK_CRASHED", Severity.ERROR, "The process that checked the object died of it.", "limit", scope=Scope.INSTANCE
)

_HARMLESS = frozenset(
    {
        "DUP_IDENTITY_TAG",
        "NO_SOP_INSTANCE_UID",
        "NO_STUDY_INSTANCE_UID",
        "NO_SERIES_INSTANCE_UID",
        "SOP_MISMATCH",
        "UID_CONFLICT",
        "PIXEL_SIZE_MISMATCH",
        "TRUNCATED_PIXEL",
        "UNTERMINATED_PIXEL",
        "FRAGMENT_OVERRUN",
    }
)
"""Problems that quarantine an object and yet leave its header safe to read."""

_DEFLATED = frozenset({"1.2.840.10008.1.2.1.99"})
_CHUNK = 64 * 1024
_TAG = re.compile(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)")


class NotCanonicalError(Exception):
    """The file was not written by this archive's format: bytes in quarantine that could not be made an object."""


@dataclass(frozen=True, slots=True)
class Work:
    """One object to check: its digest, where it lies, its size, and the codes that the index holds since its receipt."""

    sha256: str
    path: str
    size: int
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found on one object. ``is_done`` is False where it could not be checked, so that the next run tries again."""

    sha256: str
    findings: tuple[Finding, ...]
    is_done: bool = True


def check_object(work: Work, file: BinaryIO, *, seconds: float = 0) -> Checked:
    """Check one object, read from ``file``. Never raises for what the bytes are; ``seconds`` bounds the time (0: no bound)."""
    found = [Finding(code, CODES[code].severity) for code in work.codes if code in CODES]
    is_done = True
    try:
        with _deadline(seconds):
            instance, structure = read_instance(file, work.size)
            found += structure
            found += findings_of(instance)
    except TimeoutError:
        found.append(_finding(CHECK_TIMEOUT))
    except NotCanonicalError:
        if not work.codes:
            found.append(_finding(OBJECT_UNREADABLE, "not a file of this archive"))
    except (OSError, StoreError) as exc:
        found.append(_finding(OBJECT_UNREADABLE, type(exc).__name__))
        is_done = False
    except Exception as exc:  # noqa: BLE001 - the worker boundary: one bad object among a million is a finding
        log.error("checking object %s failed: %s", work.sha256, _place_of(exc))
        found.append(_finding(CHECK_FAILED, type(exc).__name__))
    return Checked(work.sha256, distinct(found), is_done)


def findings_of(instance: Instance) -> Iterator[Finding]:
    """Ask every rule about one instance. A rule that fails is reported by name and hinders no other."""
    if not instance.is_complete:
        return
    for rule in RULES:
        try:
            for number, found in enumerate(rule.check(instance)):
                if number == MAX_FOUND:
                    break
                yield Finding(rule.code.code, rule.code.severity, found.where, found.values)
        except TimeoutError:
            raise
        except Exception as exc:  # noqa: BLE001 - the worker boundary, once a rule
            log.error("rule %s failed: %s", rule.name, _place_of(exc))
            yield _finding(CHECK_FAILED, f"{rule.name}: {type(exc).__name__}")


def distinct(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Drop what is said twice: receipt and rules may find one code, and the more exact place stands."""
    unique: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = (finding.code, finding.where)
        if key not in unique or (finding.values and not unique[key].values):
            unique[key] = finding
    placed = {code for code, where in unique if where}
    return tuple(finding for (code, where), finding in unique.items() if where or code not in placed)


def read_instance(file: BinaryIO, size: int) -> tuple[Instance, list[Finding]]:
    """Read what the rules judge, and the findings of its structure, from a file of our own store that is ``size`` bytes long.

    Raises NotCanonicalError for anything else.
    """
    try:
        head = read_head(file)
    except ValueError as exc:
        raise NotCanonicalError from exc
    base = head.data_set_offset

    def read_at(offset: int, length: int) -> bytes:
        file.seek(base + offset)
        return file.read(length)

    header = _scan(file, base, head.transfer_syntax_uid)
    is_safe = _is_safe(header)
    check_tail(header, size - base, read_at)  # adds what it finds to the header's problems
    problems = [*header.problems, *identity_problems(header, head.sop_class_uid, head.sop_instance_uid)]
    findings = [_of_problem(problem) for problem in problems]
    elements = None
    if is_safe and header.element_count > MAX_ELEMENTS:
        findings.append(_finding(HEADER_TOO_LARGE, f"{header.element_count} elements"))
    elif is_safe:
        elements = _read_safely(file, findings)
    instance = Instance(
        sop_class_uid=head.sop_class_uid,
        sop_instance_uid=head.sop_instance_uid,
        transfer_syntax_uid=head.transfer_syntax_uid,
        elements=elements or {},
        pixels=_pixels(header),
        data_set_length=size - base,
        read_at=_nothing if head.transfer_syntax_uid in _DEFLATED else read_at,
        is_complete=elements is not None,
    )
    return instance, findings


def _read_safely(file: BinaryIO, findings: list[Finding]) -> Mapping[int, Element] | None:
    try:
        return read_elements(file)
    except (TimeoutError, OSError):
        raise
    except Exception as exc:  # noqa: BLE001 - the worker boundary: pydicom raises nine types and more on bad bytes
        log.debug("a header cannot be read: %s", _place_of(exc))
        findings.append(_finding(HEADER_UNREADABLE, type(exc).__name__))
        return None


def _nothing(offset: int, length: int) -> bytes:
    return b""


def _scan(file: BinaryIO, base: int, transfer_syntax_uid: str) -> Header:
    scanner = HeaderScanner(transfer_syntax_uid)
    file.seek(base)
    while chunk := file.read(_CHUNK):
        if scanner.feed(chunk):
            break
    return scanner.close()


def _is_safe(header: Header) -> bool:
    codes = {problem.code for problem in header.problems}
    if "TRAILING_PADDING" in codes and header.pixel is None:
        return False  # pydicom reads padding as elements: 100 MB of zeros take it 50 s
    return not any(PROBLEMS[code].disposition is Disposition.QUARANTINE for code in codes - _HARMLESS)


def _pixels(header: Header) -> Pixels | None:
    pixel = header.pixel
    return None if pixel is None else Pixels(pixel.tag, pixel.vr, pixel.value_offset, pixel.length)


def _of_problem(problem: Problem) -> Finding:
    tag = _TAG.fullmatch(problem.where)
    where = name_of(int(tag[1] + tag[2], 16)) if tag else problem.where
    return Finding(problem.code, CODES[problem.code].severity, where, (problem.detail,) if problem.detail else ())


def _place_of(exc: Exception) -> str:
    """Say what was raised and where, without the message: those of pydicom quote values."""
    frames = traceback.extract_tb(exc.__traceback__)[-3:]
    return f"{type(exc).__name__} at " + " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)


def _finding(code: Code, *values: str) -> Finding:
    return Finding(code.code, code.severity, values=values)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the body after ``seconds``."""
    if not seconds:
        yield
        return
    with _by_alarm(seconds) if threading.current_thread() is threading.main_thread() else _by_thread(seconds):
        yield


@contextmanager
def _by_alarm(seconds: float) -> Iterator[None]:
    def expire(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    """No signal reaches the threads in which a cluster's workers run tasks; the interpreter can raise there all the same."""
    me, lock = ctypes.c_ulong(threading.get_ident()), threading.Lock()
    is_over = False

    def expire() -> None:
        with lock:
            if not is_over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(me, ctypes.py_object(TimeoutError))

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            is_over = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(me, None)
        timer.cancel()
