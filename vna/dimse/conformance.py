"""The tables of the DICOM conformance statement, made from the code that they describe.

``python -m vna.dimse.conformance docs/conformance.md`` writes them between the marks of the page; a test compares.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

from pydicom.uid import UID

from vna.dimse import codes, negotiation, sop_classes, storing, tls, transfer_syntaxes
from vna.dimse import limits as bounds
from vna.dimse.hints import REJECTIONS
from vna.dimse.limits import ScpLimits
from vna.dimse.statuses import GENERAL, SPECIFIC, Service, Status, classify, code
from vna.part10 import IMPLEMENTATION_CLASS_UID

Rows = Iterable[tuple[str, ...]]


def _table(head: tuple[str, ...], rows: Rows) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _uid(uid: str) -> str:
    return f"`{uid}`"


def identity() -> str:
    """Who we say we are."""
    return _table(
        ("Item", "Value"),
        [
            ("Application context", _uid(sop_classes.APPLICATION_CONTEXT)),
            ("Implementation class UID", _uid(IMPLEMENTATION_CLASS_UID)),
            ("Implementation version name", f"`{negotiation.IMPLEMENTATION_VERSION_NAME}`"),
        ],
    )


def scu_classes() -> str:
    """SOP classes that we request as SCU, and the syntaxes proposed for them."""
    native = ", ".join(UID(uid).name for uid in transfer_syntaxes.NATIVE)
    rows = [
        (
            UID(sop_classes.VERIFICATION).name,
            _uid(sop_classes.VERIFICATION),
            UID(transfer_syntaxes.IMPLICIT_VR_LITTLE_ENDIAN).name,
        )
    ]
    for models in (sop_classes.FIND, sop_classes.MOVE, sop_classes.GET):
        rows += [(UID(uid).name, _uid(uid), native) for uid in models.values()]
    rows.append(
        ("every storage class of the objects sent", "as in the objects", "as in the objects, each in a context of its own")
    )
    return _table(("SOP class", "UID", "Transfer syntaxes"), rows)


def get_syntaxes() -> str:
    """What a C-GET proposes for a storage class whose syntaxes are not known."""
    return _table(("Transfer syntax", "UID"), [(UID(uid).name, _uid(uid)) for uid in transfer_syntaxes.COMMON])


def refused_classes() -> str:
    """Services whose SOP classes our SCP does not accept."""
    rows = [
        (service, ", ".join(_uid("1.2.840.10008." + uid + ("*" if uid.endswith(".") else "")) for uid in uids))
        for service, uids in sop_classes.OTHER_SERVICES.items()
    ]
    return _table(("Service", "SOP class UIDs"), rows)


def answers() -> str:
    """What our SCP answers to C-STORE."""
    meanings = {
        storing.SUCCESS: "the object is durable: stored, flagged, a duplicate, a variant, or in quarantine with its reason; "
        "or, if `[archive] acknowledge` says so, in the spool with its upload owed",
        storing.OUT_OF_RESOURCES: "no room; nothing was kept, send it again later",
        storing.PROCESSING_FAILURE: "the store failed; nothing was kept",
        storing.CANNOT_UNDERSTAND: "the request announces no data set",
    }
    return _table(
        ("Status", "Class", "Meaning here"),
        [(code(number), classify(Service.STORE, number).status_class, text) for number, text in meanings.items()],
    )


def rejections() -> str:
    """Why our SCP turns somebody away."""
    rows = []
    for name, entry in codes.ALL.items():
        if entry.answer:
            result, source, reason = entry.answer
            answer = f"A-ASSOCIATE-RJ {result}/{source}/{reason} ({REJECTIONS[source, reason]})"
        else:
            answer = "A-ABORT" if name in codes.ABORTS else "connection closed"
        rows.append((f"`{name}`", answer, entry.text))
    return _table(("Code", "Answer", "Why"), rows)


def _range(status: Status) -> str:
    return code(status.first) if status.first == status.last else f"{code(status.first)}-{status.last:04X}"


def statuses() -> str:
    """How every status of a peer is taken."""
    rows = [
        (service, _range(entry), entry.status_class, "yes" if entry.transient else "", entry.text, entry.reference)
        for service, entries in (("any", GENERAL), *SPECIFIC.items())
        for entry in entries
    ]
    return _table(("Service", "Status", "Class", "Transient", "Text", "Reference"), rows)


def sending() -> str:
    """Outcomes of sending that are no status."""
    return _table(("Code", "State", "Why"), [(f"`{name}`", state, text) for name, (state, text) in codes.SENDING.items()])


def limits() -> str:
    """The bounds of the network code."""
    fixed = {
        "A-ASSOCIATE PDU, bytes": bounds.ASSOCIATE_BYTES,
        "presentation contexts": bounds.CONTEXTS,
        "transfer syntaxes in one context": bounds.TRANSFER_SYNTAXES,
        "command set, bytes": bounds.COMMAND_BYTES,
        "identifier, bytes": bounds.IDENTIFIER_BYTES,
    }
    rows = [(name, f"{value:,}") for name, value in fixed.items()]
    defaults = ScpLimits()
    rows += [(f"SCP: `{field.name}`", f"{getattr(defaults, field.name):,}") for field in fields(ScpLimits)]
    return _table(("Bound", "Value"), rows)


def security() -> str:
    """What TLS is spoken."""
    return _table(
        ("Item", "Value"), [("Versions", "TLS 1.2, TLS 1.3"), ("Cipher suites", f"`{tls.CIPHERS}` (OpenSSL's notation)")]
    )


TABLES: dict[str, Callable[[], str]] = {
    "identity": identity,
    "SOP classes as SCU": scu_classes,
    "transfer syntaxes of C-GET": get_syntaxes,
    "answers to C-STORE": answers,
    "turned away": rejections,
    "SOP classes not accepted": refused_classes,
    "statuses": statuses,
    "outcomes of sending": sending,
    "limits": limits,
    "security": security,
}
_MARKED = re.compile(r"(<!-- begin: (?P<name>[^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page: str) -> str:
    """Return the page with every marked table made anew. Raises KeyError for a mark that names no table."""
    return _MARKED.sub(lambda match: f"{match[1]}\n{TABLES[match['name']]()}\n\n{match[3]}", page)


def main() -> None:
    """Write the tables into the page that the command line names."""
    page = Path(sys.argv[1])
    page.write_text(fill(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
