"""Ingest: take DICOM files into the archive that are reachable as files, without asking any PACS for them.

Nouns: adapter (what knows how a source keeps its files), found file (one of them, or the reason why it is left out), source file
(one that was scanned). The adapter so far is ``folder``: any tree with any names.
"""

from vna.ingest.run import ADAPTERS, IngestOptions, IngestResult, run

__all__ = ["ADAPTERS", "IngestOptions", "IngestResult", "run"]
