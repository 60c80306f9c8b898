"""What real archives do wrong, as switches of the embedded PACS."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Faults:
    """Everything off is a PACS that keeps its word. Counters are 0 for off; ``retrieve_`` goes for C-MOVE and C-GET alike."""

    find_cap: int = 0
    """End a C-FIND with Success after so many answers, silently."""
    find_refuses_above: int = 0
    """Answer a C-FIND that would have more matches with A700 and nothing else."""
    find_aborts_after: int = 0
    """Abort the association after so many answers of a C-FIND."""
    find_duplicates: bool = False
    """Answer every match of a C-FIND twice."""
    find_hides: frozenset[str] = frozenset()
    """SOP Instance UIDs that are stored but never found; a study of nothing else is not found either."""
    study_counts_off_by: int = 0
    """Add this to NumberOfStudyRelatedInstances."""
    retrieve_sends_nothing: bool = False
    """Answer Success with all counts as if everything had been sent, and send nothing."""
    retrieve_drops_every: int = 0
    """Leave out every k-th instance, and count it as completed."""
    retrieve_fails_every: int = 0
    """Do not send every k-th instance and say so: B000, with the failed SOP Instance UIDs."""
    retrieve_sends_extra: bool = False
    """Send one instance of another study along, which nobody asked for."""
    retrieve_sends_twice: bool = False
    """Send every instance twice."""
    retrieve_alters: bool = False
    """Send other bytes under the same SOP Instance UID: the last byte of the data set is flipped."""
    retrieve_new_uids: bool = False
    """Send under a new SOP Instance UID at every retrieve; the data set's own is changed as well."""
    retrieve_counts_nothing: bool = False
    """Say 0 completed, 0 failed, 0 warnings, whatever was sent."""
    retrieve_answers_first: bool = False
    """C-MOVE: send the final Success before the first sub-operation."""
    retrieve_aborts_after: int = 0
    """Abort the association that asks, after so many sub-operations."""
    store_status: int = 0
    """Answer every C-STORE with this status; nothing is kept unless it is a warning."""
    store_fails_every: int = 0
    """Answer every k-th C-STORE with A700, out of resources."""
    store_loses_every: int = 0
    """Answer every k-th C-STORE with Success and keep nothing."""
    store_alters: bool = False
    """Keep other bytes than were received: the last byte of the data set is flipped."""
    delay_s: float = 0.0
    """Wait so long before each answer and each sub-operation."""


NO_FAULTS = Faults()
