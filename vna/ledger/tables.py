"""The ledger's tables, in SQL that SQLite and PostgreSQL both take.

UIDs are kept as the peer or the data set wrote them. Times are ISO 8601 text in UTC; only a lease's expiry is a number, since it
is compared. Every row is explained by something outside: an inventory's answers, a journal row, a response of a target.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    event,
)

SCHEMA_VERSION = 1

metadata = MetaData()

about = Table("about", metadata, Column("name", String(64), primary_key=True), Column("value", Text, nullable=False))
"""``schema`` (the version of these tables) and other single values."""

counters = Table(
    "counters", metadata, Column("name", String(64), primary_key=True), Column("value", BigInteger, nullable=False, default=0)
)
"""Numbers that only grow: ``fence`` gives each lease its token."""

inventories = Table(
    "inventories",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("node", String(64), nullable=False, index=True),
    Column("started_at", String(32), nullable=False),
    Column("finished_at", String(32), nullable=False),
    Column("studies", Integer, nullable=False),
    Column("series", Integer, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("windows", Integer, nullable=False),
    Column("truncated", Integer, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("evidence", Text, nullable=False),
)
"""One finished inventory of a source that differed from the one before. ``digest`` covers the set of listed UIDs."""

inventory_windows = Table(
    "inventory_windows",
    metadata,
    Column("inventory_id", ForeignKey("inventories.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("parent", Integer, nullable=False),
    Column("keys", Text, nullable=False),
    Column("answers", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    PrimaryKeyConstraint("inventory_id", "ordinal"),
)
"""The queries that cover a source: how many answers each gave and why it is believed (or was split)."""

source_studies = Table(
    "source_studies",
    metadata,
    Column("study_instance_uid", String(128), nullable=False),
    Column("node", String(64), nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("whole", Boolean, nullable=False),
    Column("asked_at", String(32), nullable=False, default=""),
    Column("study_date", String(32), nullable=False, default=""),
    Column("study_time", String(32), nullable=False, default=""),
    Column("accession_number", String(64), nullable=False, default=""),
    Column("patient_id", String(128), nullable=False, default=""),
    Column("issuer_of_patient_id", String(128), nullable=False, default=""),
    Column("study_description", Text, nullable=False, default=""),
    Column("modalities_in_study", Text, nullable=False, default=""),
    Column("instance_availability", String(16), nullable=False, default=""),
    PrimaryKeyConstraint("study_instance_uid", "node"),
    Index("source_studies_by_node", "node"),
)
"""What a source lists at STUDY level. ``listed`` is false once a complete inventory no longer names it; ``whole`` is false where
its instances could not all be listed, and ``asked_at`` is when such a study was asked for as a whole."""

source_series = Table(
    "source_series",
    metadata,
    Column("study_instance_uid", String(128), nullable=False),
    Column("series_instance_uid", String(128), nullable=False),
    Column("node", String(64), nullable=False),
    Column("modality", String(32), nullable=False, default=""),
    Column("series_number", String(32), nullable=False, default=""),
    PrimaryKeyConstraint("study_instance_uid", "series_instance_uid", "node"),
)
"""What a source lists at SERIES level."""

objects = Table(
    "objects",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("study_instance_uid", String(128), nullable=False, index=True),
    Column("series_instance_uid", String(128), nullable=False),
    Column("sop_instance_uid", String(128), nullable=False, index=True),
    Column("sop_class_uid", String(128), nullable=False),
    Column("transfer_syntax_uid", String(128), nullable=False),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("codes", Text, nullable=False),
    Column("source", String(64), nullable=False),
    Column("received_at", String(40), nullable=False),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("received_status", String(16), nullable=False),
)
"""What the archive holds, absorbed from its journal: one row a digest. ``codes`` are separated by spaces.

``revision`` is the number of the last revision of its study that concerns the object, 0 for none: only outcomes of that revision
speak of the object as it leaves now. ``status`` is that of a standing decision about its UID, else ``received_status``."""

study_revisions = Table(
    "study_revisions",
    metadata,
    Column("study", String(255), primary_key=True),
    Column("number", Integer, nullable=False),
)
"""How far each study's revisions (by their folder in the archive) have been absorbed."""

journal_positions = Table(
    "journal_positions",
    metadata,
    Column("writer", String(128), primary_key=True),
    Column("seq", BigInteger, nullable=False),
)
"""How far each journal writer's rows have been absorbed."""

expected_instances = Table(
    "expected_instances",
    metadata,
    Column("study_instance_uid", String(128), nullable=False),
    Column("series_instance_uid", String(128), nullable=False),
    Column("sop_instance_uid", String(128), nullable=False),
    Column("node", String(64), nullable=False),
    Column("sop_class_uid", String(128), nullable=False, default=""),
    Column("listed", Boolean, nullable=False),
    Column("sha256", ForeignKey("objects.sha256"), nullable=True, index=True),
    Column("matched", String(16), nullable=False, default=""),
    Column("state", String(16), nullable=False, default=""),
    Column("code", String(64), nullable=False, default=""),
    Column("detail", Text, nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("at", String(32), nullable=False, default=""),
    PrimaryKeyConstraint("study_instance_uid", "series_instance_uid", "sop_instance_uid", "node"),
)
"""Every instance that a source listed. ``sha256`` is the object that came for it; until then ``state`` is empty, ``failed``
(asked for in vain, tried again by the next run) or ``missing`` (given up, for the reason ``code``)."""

_WITHOUT_OBJECT = "CREATE INDEX expected_without_object ON expected_instances (node, study_instance_uid) WHERE sha256 IS NULL"
"""As text, which both databases take: an Index with a condition has one for each dialect, and imports them both."""

event.listen(expected_instances, "after_create", DDL(_WITHOUT_OBJECT))  # type: ignore[no-untyped-call]

outcomes = Table(
    "outcomes",
    metadata,
    Column("sha256", ForeignKey("objects.sha256"), nullable=False),
    Column("node", String(64), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("revision", Integer, nullable=False, default=0),
    Column("state", String(16), nullable=False),
    Column("code", String(64), nullable=False, default=""),
    Column("detail", Text, nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=1),
    Column("at", String(32), nullable=False),
    PrimaryKeyConstraint("sha256", "node", "stage", "revision"),
    Index("outcomes_by_node", "node", "stage", "state"),
)
"""What became of an object at a target, per stage and revision (0: as received)."""

leases = Table(
    "leases",
    metadata,
    Column("stage", String(16), nullable=False),
    Column("node", String(64), nullable=False),
    Column("study_instance_uid", String(128), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", Float, nullable=False),
    PrimaryKeyConstraint("stage", "node", "study_instance_uid"),
)
"""Who works on what now. A write under a lease is taken only while its ``token`` stands here."""

certificates = Table(
    "certificates",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("node", String(64), nullable=False, index=True),
    Column("at", String(32), nullable=False),
    Column("path", Text, nullable=False),
    Column("digest", String(64), nullable=False),
)
"""Every certificate that was written; ``digest`` covers what it certifies, without its time."""
