"""The archive: the sink through which objects come in, the journal that tells of them, and the index made from it.

Nouns: sink (the one way in), incoming (one object on its way), receipt (what became of it, durable), journal (rows in segments,
one chain a writer), writer (who appends to one), intent (what a writer is about to publish), recovery (completing what a crash
interrupted), variant (another object under the same UIDs), quarantine (bytes that cannot be filed), manifest (a study's digests).

Importing this package costs neither pyarrow nor deltalake nor duckdb: a receiver imports it in every process.
"""

from vna.archive.archive import FORMAT, Archive
from vna.archive.examine import Announced, Reading, Verdict
from vna.archive.recovery import Recovered
from vna.archive.rows import JournalRow
from vna.archive.sink import ArchiveIncoming, ArchiveSink, Durability

__all__ = [
    "FORMAT",
    "Announced",
    "Archive",
    "ArchiveIncoming",
    "ArchiveSink",
    "Durability",
    "JournalRow",
    "Reading",
    "Recovered",
    "Verdict",
]
