"""An archive-neutral DICOM file-store intermediary.

Studies are pulled from a legacy archive into a Part 10 file store with a Parquet index, checked, forwarded to a target
archive and verified there; a ledger accounts for every instance. Nouns: archive (store + index + ledger), node (a named
peer), source and target (roles of a node), instance, series, study, patient, finding, outcome.
"""

__version__ = "0.1.0"
