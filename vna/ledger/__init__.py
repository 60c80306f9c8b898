"""What was done to which study: the proof that not one instance is lost.

Nouns: source (a node that lists studies), listing (what it says it holds), expected instance (one listed instance), object (what
the archive stored, by digest), outcome (what became of an object at a target), lease (a claim on work), unit (an object, or an
expected instance without one; each is accounted for once), status (the sum of all units).

Coordinators alone open the ledger; receivers write the archive's journal, from which :meth:`Ledger.absorb` learns.
"""

from vna.ledger.accounts import Status, Unmigrated
from vna.ledger.due import DuePlan, DueStudy, plan_due
from vna.ledger.expected import SOURCE_CODES, ExpectedInstance, StudyCount
from vna.ledger.leases import Lease
from vna.ledger.ledger import Ledger
from vna.ledger.objects import JournalRow, StoredObject
from vna.ledger.outcomes import SentObject, TargetRow
from vna.ledger.sources import InventoryRun, ListedSeries, ListedStudy, Recorded, Window
from vna.ledger.work import Work, Worked

__all__ = [
    "SOURCE_CODES",
    "DuePlan",
    "DueStudy",
    "ExpectedInstance",
    "InventoryRun",
    "JournalRow",
    "Lease",
    "Ledger",
    "ListedSeries",
    "ListedStudy",
    "Recorded",
    "SentObject",
    "Status",
    "StoredObject",
    "StudyCount",
    "TargetRow",
    "Unmigrated",
    "Window",
    "Work",
    "Worked",
    "plan_due",
]
