"""The façade of one archive: store, journal and index under one URL."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

from vna.archive.address import Address
from vna.archive.journal import Journal
from vna.archive.layout import DESCRIPTION, SPOOL
from vna.archive.owed import Debts, Owed
from vna.archive.readme import README
from vna.archive.recovery import Recovered, recover
from vna.archive.revision_files import revised_studies
from vna.archive.rows import JournalRow
from vna.archive.sink import ArchiveSink, Durability, OnReceipt, foresee, now
from vna.errors import ConfigError, InstanceMissingError, RefusedError
from vna.model import Receipt, Report, silent
from vna.store import SYSTEM, LocalStore, Operations, Store, is_local, is_s3, open_store
from vna.store.customer_key import with_customer_key
from vna.store.operations import store_errors
from vna.store.room import Reserve

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from indexer.catalogue import Catalogue
    from vna.archive.effective import EffectiveObject
    from vna.archive.index import Index
    from vna.archive.revisions import StudyRevisions
    from vna.archive.uploading import Tell, Uploader

log = logging.getLogger(__name__)

FORMAT = 1
"""The format that this release writes and the newest that it reads (docs/store-format.md)."""


class Archive:
    """One archive. Cheap to open; several processes may have it open at once, each with sinks of its own.

    ``workspace`` is the folder of this machine in which objects are spooled and journal segments begun: the archive's own where
    that is local, else one below ``spool``, named after the archive.
    """

    def __init__(
        self,
        store: Store,
        archive_id: str,
        operations: Operations = SYSTEM,
        *,
        storage_options: Mapping[str, Any] | None = None,
        spool: str = "",
    ) -> None:
        self.store = store
        self.url = store.url
        self.archive_id = archive_id
        self.storage_options = dict(storage_options or {})
        self.spool = spool
        self._operations = operations
        self._keeps_workspace = False

    @classmethod
    def create(
        cls,
        url: str,
        storage_options: Mapping[str, Any] | None = None,
        *,
        spool: str = "",
        operations: Operations = SYSTEM,
    ) -> Archive:
        """Make an archive under ``url``, or open the one that is there. Safe to repeat, and after a crash in it.

        See :meth:`open` for the rest. Raises RefusedError where the service cannot be trusted with an archive.
        """
        store = _open_store(url, storage_options, operations, writing=True)
        if isinstance(store, LocalStore):
            with store_errors("the archive could not be created"):
                store.root.mkdir(parents=True, exist_ok=True)
                operations.sync_folder(store.root.parent)
        if not store.exists(DESCRIPTION):
            store.put_bytes(README.encode("ascii"), "README.txt")
            description = {"format": FORMAT, "archive_id": str(uuid.uuid4()), "created": now()}
            store.put_bytes(json.dumps(description, indent=1).encode("ascii") + b"\n", DESCRIPTION)
        return cls._opened(store, storage_options, spool, operations)

    @classmethod
    def open(
        cls,
        url: str,
        storage_options: Mapping[str, Any] | None = None,
        *,
        spool: str = "",
        operations: Operations = SYSTEM,
    ) -> Archive:
        """Open the archive under ``url``, a local folder or ``s3://bucket/prefix``.

        ``spool`` is a local folder; an archive on S3 needs one for everything but reading objects. Raises ConfigError when there
        is no archive, and RefusedError when it was written by a newer release in a newer format.
        """
        return cls._opened(_open_store(url, storage_options, operations, writing=False), storage_options, spool, operations)

    @classmethod
    def known(cls, url: str, archive_id: str, storage_options: Mapping[str, Any] | None = None, *, spool: str) -> Archive:
        """Give the archive on S3 that another process has opened and says the ID of, without asking the service."""
        from vna.store.s3 import S3Store

        return cls(S3Store(url, storage_options), archive_id, storage_options=storage_options, spool=spool)

    @classmethod
    def _opened(cls, store: Store, storage_options: Mapping[str, Any] | None, spool: str, operations: Operations) -> Archive:
        url = store.url
        try:
            description = json.loads(store.read_bytes(DESCRIPTION))
            written, archive_id = int(description["format"]), str(description["archive_id"])
        except InstanceMissingError as exc:
            raise ConfigError(f"there is no archive at {url}", hint=f"create one: vna init {url}") from exc
        except (ValueError, KeyError, TypeError) as exc:
            raise ConfigError(f"{DESCRIPTION} at {url} cannot be read", hint="restore that file from a backup") from exc
        if written > FORMAT:
            raise RefusedError(
                f"the archive at {url} has format {written}; this release reads up to {FORMAT}", hint="use a newer release of vna"
            )
        return cls(store, archive_id, operations, storage_options=storage_options, spool=spool)

    @property
    def root(self) -> Path:
        """The archive's own folder. Raises ConfigError where it is not local."""
        if not isinstance(self.store, LocalStore):
            raise ConfigError(f"the archive at {self.url} is in no local folder")
        return self.store.root

    @property
    def workspace(self) -> Path:
        """The folder of this machine in which objects are spooled and journal segments begun. Raises ConfigError without one."""
        if isinstance(self.store, LocalStore):
            return self.store.root
        if not self.spool:
            raise ConfigError("an archive on S3 needs a folder on the local disk", hint="name one as [archive] spool")
        return Path(self.spool).absolute() / self.archive_id

    @property
    def journal(self) -> Journal:
        """The journal: what the archive took, as far as this machine can tell."""
        return Journal(self.workspace, None if isinstance(self.store, LocalStore) else self.store)

    # -- writing

    def sink(
        self,
        *,
        durability: Durability = Durability.OBJECT,
        on_receipt: OnReceipt | None = None,
        reserve: Reserve | None = None,
        owes: bool = False,
    ) -> ArchiveSink:
        """Open a sink with a journal writer of its own, after completing what dead writers left. The caller closes it.

        It takes nothing more once only the ``reserve`` is free on the disk.
        Use it in the process that opened it: what holds its lock must end with that process.

        One that ``owes``, for an archive on S3, gives its receipts for what is durable on this machine's disk, and does not talk
        to the service at all: an :meth:`uploader` does that, beside it. Raises ConfigError where the archive is local.
        """
        if owes:
            self._must_be_elsewhere()
            self._keep_workspace()
        else:
            self._trust_service()
            self.sweep()
        return ArchiveSink(
            self.store,
            self.workspace,
            operations=self._operations,
            durability=durability,
            on_receipt=on_receipt,
            reserve=reserve,
            owes=owes,
        )

    def uploader(self, tell: Tell = lambda event: None) -> Uploader:
        """Make what uploads that which is owed, in the background; see :class:`vna.archive.uploading.Uploader`.

        Raises ConfigError where the archive is local, and RefusedError where the service cannot be trusted.
        """
        self._must_be_elsewhere()
        self._trust_service()
        self._keep_workspace()
        return self._uploader(tell)

    def _uploader(self, tell: Tell = lambda event: None) -> Uploader:
        from vna.archive.uploading import Uploader
        from vna.store.s3 import S3Store

        store = self.store
        reach = store.reach if isinstance(store, S3Store) else lambda: store.exists(DESCRIPTION)
        return Uploader(
            self.workspace,
            lambda: ArchiveSink(store, self.workspace, operations=self._operations),
            reach,
            tell,
            operations=self._operations,
        )

    def owed(self) -> Owed:
        """Tell what this machine has acknowledged that is not in the archive yet."""
        return Owed() if isinstance(self.store, LocalStore) else Debts(self.workspace).summary()

    def owes_from_before(self, moment: float) -> bool:
        """Tell whether this machine owes anything that came before that time (seconds since the epoch)."""
        return not isinstance(self.store, LocalStore) and Debts(self.workspace).is_older(moment)

    def _must_be_elsewhere(self) -> None:
        if isinstance(self.store, LocalStore):
            raise ConfigError(
                "a local archive owes nothing: what is durable on its disk is stored",
                hint='remove acknowledge = "spooled" from [archive]',
            )

    def _trust_service(self) -> None:
        """Make sure, for an archive on S3, that the service can be trusted."""
        if isinstance(self.store, LocalStore):
            return
        from vna.store.s3 import S3Store

        if isinstance(self.store, S3Store):
            self.store.probe()

    def _keep_workspace(self) -> None:
        """Make sure, once and for an archive on S3, that the workspace survives a power failure."""
        if self._keeps_workspace or isinstance(self.store, LocalStore):
            return
        with store_errors("the local spool could not be made"):
            _make_durable(self.workspace / SPOOL, self._operations)
        self._keeps_workspace = True

    def sweep(self) -> Recovered:
        """Complete what writers left that died, and remove their spool files; the living are not touched.

        Journal segments that are sealed go into the store, where that is not local, and so does what is owed to it, unless an
        :meth:`uploader` is at that.
        """
        self._keep_workspace()
        recovered = recover(self.store, self.workspace, self._operations)
        if not isinstance(self.store, LocalStore) and Debts(self.workspace):
            uploader = self._uploader()
            uploader.finish()
            if uploader.trouble is not None:
                log.warning("what is owed could not be uploaded: %s", uploader.trouble)
        self.journal.upload()
        return recovered

    # -- reading

    def journal_rows(self, after: Mapping[str, int] | None = None) -> Iterator[JournalRow]:
        """Read what the archive took, sealed and open segments alike, each writer in its own order.

        ``after`` maps a writer to the ``seq`` of the last row that the caller has had of it, so that a coordinator reads on.
        """
        return self.journal.read(after)

    def foresee(self, row: JournalRow, foreseen: Mapping[str, str] = MappingProxyType({})) -> Receipt:
        """Tell what would become of an object, without writing anything: its state and its place.

        ``foreseen`` maps paths to digests of objects that would have been taken before.
        """
        return foresee(self.store, row, foreseen)

    def open_object(self, path: str) -> BinaryIO:
        """Open a stored file for reading; the caller closes it. Raises InstanceMissingError."""
        return self.store.open(path)

    @contextmanager
    def local_file(self, path: str) -> Iterator[Path]:
        """Have a stored file on the local disk while the block runs, to be read only: itself, or a copy of it."""
        if isinstance(self.store, LocalStore):
            yield self.store.root / path
            return
        with tempfile.NamedTemporaryFile(prefix="vna-", suffix=".dcm") as copy:
            with self.store.open(path) as file, store_errors("the object could not be copied"):
                shutil.copyfileobj(file, copy, 1 << 20)
                copy.flush()
            yield Path(copy.name)

    def open_effective(
        self, path: str, sha256: str, study_instance_uid: str, *, revisions: StudyRevisions | None = None
    ) -> tuple[EffectiveObject, BinaryIO]:
        """Open an object as it leaves, with the active revisions of its study applied; the caller closes the file.

        ``revisions``, once taken from :meth:`revisions`, serve for a whole study: quicker, and of one state. Only the header is
        made anew; what follows is read from the store. An object without revisions comes as it is stored, byte for byte. Raises
        RefusedError where a change cannot be applied.
        """
        from vna.archive.effective import opened

        store = self.store
        file = store.open_unbuffered(path) if isinstance(store, LocalStore) else store.open(path)
        try:
            known = revisions if revisions is not None else self.revisions(study_instance_uid)
            return opened(file, known.standing(sha256))
        except BaseException:
            file.close()
            raise

    def revisions(self, study_instance_uid: str) -> StudyRevisions:
        """Give all revisions of a study, named by its UID as received: which stand, and what each object's last one is."""
        from vna.archive.revisions import revisions_of

        return revisions_of(self.store, study_instance_uid)

    def revised(self, known: Mapping[str, int]) -> Iterator[tuple[str, int, Mapping[str, tuple[int, str]]]]:
        """Tell of every study that has come beyond the revision ``known`` of it: its folder, its last number, its objects.

        Each object comes with the number of the last revision that concerns it, and the status that a standing decision about
        its UID gives it ('' for none).
        """
        for folder, numbers in revised_studies(self.store):
            if numbers[-1] > known.get(folder, 0):
                from vna.archive.revisions import read_revisions  # it reads data elements, which takes long to import

                found = read_revisions(self.store, folder, numbers)
                digests = sorted({digest for revision in found.all for digest in revision.objects})
                yield folder, numbers[-1], {digest: (found.number(digest), found.status(digest, "")) for digest in digests}

    def open_leaving(self, path: str, sha256: str, study_instance_uid: str, revision: int) -> tuple[EffectiveObject, BinaryIO]:
        """Open an object as it leaves in that revision of its study, whatever has come since; the caller closes the file."""
        revisions = self.revisions(study_instance_uid)
        if revisions.number(sha256) != revision:
            revisions = revisions.up_to(revision)
        return self.open_effective(path, sha256, study_instance_uid, revisions=revisions)

    def put_effective(self, path: str, sha256: str, study_instance_uid: str, target: str) -> bool:
        """Store an object as it leaves under another path, durably; False when something stands there."""
        _, file = self.open_effective(path, sha256, study_instance_uid)
        with file:
            return self.store.put_stream(file, target)

    # -- index

    def sync_index(self) -> int:
        """Take sealed journal segments into the index, each exactly once, and bring the manifests up to date; return rows added.

        Segments of dead writers are completed and sealed first. One process does it at a time; others wait for it.
        """
        self.sweep()
        return self._index().sync()

    def prepare_index(self) -> None:
        """Import what the index needs: it takes long, so whoever waits for a network may have it done meanwhile."""
        self._index()

    def sync_revisions(self) -> int:
        """Take every revision into the index that it does not show yet; return how many. Safe to repeat."""
        return self._index().sync_revisions()

    def connect(self) -> DuckDBPyConnection:
        """Return a DuckDB connection with the view ``instances``: the index, united with what only the journal knows yet."""
        return self._index().connect()

    def query(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Run SQL over the view ``instances``; digests come as hexadecimal text. Raises ConfigError for SQL that is none."""
        return self._index().query(sql, params)

    def select(self, where: str | None = None, studies: Sequence[str] = (), columns: Sequence[str] = ()) -> list[dict[str, Any]]:
        """List the rows of the view that meet a SQL condition and belong to the given studies, in a stable order.

        All is optional; ``where`` is the user's own SQL (DuckDB's dialect), a study is named by its UID as received, ``columns``
        keeps a row small. Raises ConfigError for a condition that is none.
        """
        return self._index().select(where, studies, columns)

    @contextmanager
    def catalogue(self) -> Iterator[Catalogue]:
        """Hold the index open for the look-ups of :mod:`vna.query`, united with what only the journal knows yet."""
        with self._index().catalogue() as catalogue:
            yield catalogue

    def roll_up_studies(self) -> int:
        """Write the table of studies, from which look-ups are answered, as the index is now; give how many rows it then has.

        Look-ups are never wrong without it: they make anew what has changed since, which takes time. Gives 0 if nothing has.
        """
        return self._index().roll_up_studies()

    def index_info(self) -> dict[str, Any]:
        """Tell how much the archive holds (instances, studies, bytes), and in what state the index's tables are.

        ``uncommitted`` rows of the journal are not in the table yet, the oldest for ``behind_s`` seconds; queries see them too.
        """
        return self._index().info()

    def optimize_index(self, report: Report = silent, *, keep_hours: int = 168, dry_run: bool = False) -> dict[str, Any]:
        """Cluster the index by study, write the table of studies, expire logs and remove files that were replaced; give counts.

        Files stay ``keep_hours`` after they were replaced, for readers that still use them. Everybody may read and append
        meanwhile, and it may be ended at any moment and repeated. Raises LockedError while another process does it.
        """
        return self._index().optimize(report, keep_hours, dry_run)

    def rebuild_index(
        self,
        report: Report = silent,
        *,
        workers: int = 1,
        cluster: str = "",
        on_differing: Callable[[str], None] | None = None,
        on_missing: Callable[[int], None] | None = None,
        accept_missing: bool = False,
    ) -> int:
        """Make the index anew from the objects and the journal, and put it in the old one's place; return the number of rows.

        Source and time of receipt come from the journal; without it, everything else comes back. So do digests, unless
        ``on_differing`` asks for every object to be read to its end: it is called with the path of each that has another digest
        than the journal's, which stands. Manifests are given back what they lack. ``cluster`` is the address of a Dask scheduler
        whose workers read the objects.

        Recorded objects that the store does not hold are left out; ``on_missing`` is told how many. Raises RefusedError for more
        than a handful and a hundredth, or all that is filed, unless ``accept_missing``; and for a list that is incomplete.
        """
        self.sweep()
        from vna.archive.rebuild import Missing
        from vna.executors import Workplace

        missing = Missing(is_accepted=accept_missing)
        rows = self._index().rebuild(Address.of(self), Workplace(workers, cluster), report, on_differing, missing)
        if missing.count and on_missing is not None:
            on_missing(missing.count)
        return rows

    def _index(self) -> Index:
        from vna.archive.index import Index

        return Index(self.store, self.workspace, self.journal, with_customer_key(self.storage_options))


def _make_durable(folder: Path, operations: Operations) -> None:
    """Make a folder and its parents, and force their names to the disk.

    Also of those that are there: another process may have made them a moment ago and not have forced them to the disk yet. It
    has not where we may not write.
    """
    is_there = folder.is_dir()
    if is_there and (folder == folder.parent or not os.access(folder.parent, os.R_OK | os.W_OK)):
        return
    _make_durable(folder.parent, operations)
    if not is_there:
        operations.make_folder(folder)
    operations.sync_folder(folder.parent)


def _open_store(url: str, storage_options: Mapping[str, Any] | None, operations: Operations, *, writing: bool) -> Store:
    if not is_local(url) and not is_s3(url):
        raise ConfigError(
            f"an archive cannot live at {url.partition('://')[0]}://",
            hint="this release keeps archives in local folders and on S3",
        )
    return open_store(url, storage_options, operations, writing=writing)
