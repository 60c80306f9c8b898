"""The parent of the accepting processes: starts, watches and ends them, and commits what they write to the index."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from vna.archive.receivers import Receiver, announced
from vna.dimse import tls
from vna.dimse.access import access_list
from vna.dimse.limits import ScpLimits
from vna.dimse.storage_scp import open_listener
from vna.errors import StoreError, VnaError
from vna.model import Local
from vna.receive.telling import STORED_PREFIX

if TYPE_CHECKING:
    import socket

    from vna.archive import Archive
    from vna.archive.uploading import Uploader

log = logging.getLogger(__name__)

Tell = Callable[[Mapping[str, Any]], None]
Relay = Callable[[bytes], None]
"""Takes the JSON lines of stored objects, several at once, as a worker wrote them."""

_RESTART_PAUSE_S = 1.0
_READ_PAUSE_S = 0.05
_PIPE_BYTES = 1 << 20
_STORED = STORED_PREFIX.encode("ascii")
_DRAIN_SLACK_S = 5.0
_SEAL_S = 5.0


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    """How ``vna receive`` runs. ``limits`` overrides fields of :class:`vna.dimse.limits.ScpLimits`; what they bound in total,
    they bound for all workers together.

    The index is committed every ``index_interval_s``, and sooner once ``index_objects`` have come. One that ``owes`` acknowledges
    what is durable on this machine's disk, and uploads it beside that; for an archive on S3 only.
    """

    port: int | None = None
    workers: int = 1
    index_interval_s: float = 2.0
    index_objects: int = 1000
    all_objects: bool = True
    limits: Mapping[str, int | float] = field(default_factory=dict)
    drain_s: float = 30.0
    owes: bool = False

    @property
    def acknowledges(self) -> str:
        """When an object is acknowledged, as ``[archive] acknowledge`` says it: when it is ``stored``, or ``spooled``."""
        return "spooled" if self.owes else "stored"


class ReceiveService:
    """Run the receiver of one archive: :meth:`run` until :meth:`stop`, which any thread or a signal handler may call.

    ``sources`` maps a calling AE title to the name that the index gives its objects. ``tell`` gets every event as a mapping whose
    ``event`` is ``listening``, ``association``, ``stored``, ``refused``, ``rejected``, ``closed``, ``indexed`` or
    ``worker_ended``, or, where it ``owes``, one of :class:`vna.archive.uploading.Uploader`, or ``owed`` at the end; without
    ``all_objects``, ``objects`` with a count of each state in place of ``stored``. With ``relay`` the
    ``stored`` events go there instead, as the lines of JSON that they are.
    """

    def __init__(
        self,
        archive: Archive,
        local: Local,
        sources: Mapping[str, str],
        options: ReceiveOptions,
        tell: Tell,
        relay: Relay | None = None,
    ) -> None:
        self._archive = archive
        self._local = local
        self._sources = dict(sources)
        self._options = options
        self._tell_lock = threading.Lock()
        self._tell_unlocked = tell
        self._relay_unlocked = relay
        self._unindexed = 0
        self._is_stopping = False
        # Whatever is due sooner than at the next interval. Not an Event: a signal handler that sets one while the same thread has
        # its lock, to wait for it or to clear it, would wait for ever. To put something here is safe at any moment.
        self._due: SimpleQueue[None] = SimpleQueue()
        self._uploader: Uploader | None = None

    def stop(self) -> None:
        """Accept nothing more, finish what is under way, and let :meth:`run` return."""
        self._is_stopping = True
        self._due.put(None)

    def commit_now(self) -> None:
        """Bring what was received so far into the index without waiting for the interval."""
        self._due.put(None)

    def run(self) -> None:
        """Serve until stopped; everything acknowledged is in the index when this returns, but for what is owed still.

        Raises RefusedError or ConfigError where it may not or cannot listen, LockedError where a receiver of this archive has
        the port already.
        """
        access_list(self._local)
        tls.server_context(self._local)
        with self._uploading():
            with open_listener(self._local, self._options.port) as listener:
                port = listener.getsockname()[1]
                receiver = Receiver(self._local.ae_title, self._local.host, port)
                with announced(self._archive.workspace, receiver):
                    workers = [self._start(listener) for _ in range(self._options.workers)]
                    try:
                        rows = self._commit()  # what an earlier run left; the libraries of the index come in while workers start
                        for worker in workers:
                            worker.wait_ready()
                        self._tell({"event": "listening", **asdict(receiver), "acknowledges": self._options.acknowledges})
                        self._tell_indexed(rows)
                        self._watch(workers, listener)
                    finally:
                        listener.close()
                        self._drain(workers)
            self._commit_last()

    @contextlib.contextmanager
    def _uploading(self) -> Iterator[None]:
        """Upload what is owed while the block runs, also what an earlier run owes that acknowledged otherwise."""
        if not self._options.owes and not self._archive.owed().objects:
            yield
            return
        with self._archive.uploader(self._tell) as self._uploader:
            yield

    def _commit_last(self) -> None:
        """Bring the rest into the index; what is owed comes with a later run, and so does all of it if no service answers."""
        owed = self._archive.owed()
        if owed.objects:
            self._tell({"event": "owed", **asdict(owed)})
        if self._uploader is not None and (self._uploader.is_held_up or not self._uploader.stop(0.0)):
            return
        self._tell_indexed(self._commit(always=not owed.objects))

    def _tell(self, event: Mapping[str, Any]) -> None:
        with self._tell_lock:
            self._tell_unlocked(event)

    def _take(self, lines: list[bytes]) -> None:
        """Hand on what a worker told of stored objects, and bring the index up to date where many have come."""
        if self._relay_unlocked is not None:
            with self._tell_lock:
                self._relay_unlocked(b"".join(lines))
        else:
            for line in lines:
                self._tell(json.loads(line))
        self._count(len(lines))

    def _take_other(self, event: Mapping[str, Any]) -> None:
        self._tell(event)
        if event["event"] == "objects":
            self._count(sum(event["states"].values()))

    def _count(self, objects: int) -> None:
        with self._tell_lock:
            self._unindexed += objects
            if self._unindexed >= self._options.index_objects:
                self._due.put(None)

    def _start(self, listener: socket.socket) -> _Worker:
        return _Worker(self._order(listener), listener, self._take, self._take_other)

    def _order(self, listener: socket.socket) -> dict[str, Any]:
        workers = self._options.workers
        limits: dict[str, Any] = {**self._options.limits, "drain_s": self._options.drain_s}
        return {
            "archive": self._archive.url,
            "archive_id": self._archive.archive_id,
            "owes": self._options.owes,
            "storage_options": self._archive.storage_options,
            "spool": self._archive.spool,
            "local": asdict(self._local),
            "listener": listener.fileno(),
            "is_shared": workers > 1,
            "sources": self._sources,
            "limits": asdict(ScpLimits(**limits).share(workers)),
            "all_objects": self._options.all_objects,
            "log_level": logging.getLogger().level,
        }

    def _watch(self, workers: list[_Worker], listener: socket.socket) -> None:
        """Commit the index now and then, and replace a worker that has died."""
        while True:
            self._wait()
            if self._is_stopping:
                return
            for number, worker in enumerate(workers):
                code = worker.ended()
                if code is not None and not self._is_stopping:
                    self._tell({"event": "worker_ended", "code": str(code)})
                    log.error("an accepting process ended with %s; another takes its place", code)
                    worker.close()
                    worker.wait(0)
                    time.sleep(_RESTART_PAUSE_S)
                    workers[number] = self._start(listener)
                    try:
                        workers[number].wait_ready()
                    except StoreError as exc:
                        log.error("%s", exc)  # it was killed: the next round replaces it
            with self._tell_lock:
                self._unindexed = 0
            for worker in workers:
                worker.seal()
            if self._uploader is not None:
                if self._uploader.is_held_up:
                    continue  # the index is where the uploads go to
                self._uploader.seal()
            self._tell_indexed(self._commit())

    def _wait(self) -> None:
        """Wait until something is due, at most for the interval; what else is due by then is due with it."""
        with contextlib.suppress(Empty):
            self._due.get(timeout=self._options.index_interval_s)
            while True:
                self._due.get_nowait()

    def _tell_indexed(self, rows: int) -> None:
        if rows:
            self._tell({"event": "indexed", "rows": rows})

    def _commit(self, *, always: bool = False) -> int:
        """Bring the journal into the index; a failure costs freshness only, so it is told and tried again."""
        try:
            return self._archive.sync_index()
        except VnaError as exc:
            log.error("the index could not be brought up to date: %s", type(exc).__name__)
            if always:
                raise
            return 0

    def _drain(self, workers: list[_Worker]) -> None:
        for worker in workers:
            worker.close()
        begun = time.monotonic()
        end = begun + self._options.drain_s + _DRAIN_SLACK_S
        for worker in workers:
            worker.wait(max(end - time.monotonic(), 0.1))
        if self._uploader is not None:
            self._uploader.stop(max(begun + self._options.drain_s - time.monotonic(), 0.0))


class _Worker:
    """One accepting process and the thread that reads what it tells: ``take`` gets lines of stored objects, ``tell`` the rest."""

    def __init__(
        self, order: Mapping[str, Any], listener: socket.socket, take: Callable[[list[bytes]], None], tell: Tell
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vna.receive.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(listener.fileno(),),
        )
        self._ready = threading.Event()
        self._sealed = threading.Event()
        self._hurry = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(take, tell), daemon=True)
        self._reader.start()
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(json.dumps(order).encode() + b"\n")
        stdin.flush()

    def wait_ready(self) -> None:
        """Wait until it accepts associations. Raises StoreError when it does not come up."""
        if not self._ready.wait(60):
            self._process.kill()
            raise StoreError("an accepting process did not start", hint="run with -v to see why")

    def _read(self, take: Callable[[list[bytes]], None], tell: Tell) -> None:
        """Read what it tells, not line by line but now and then, so that it need not wake us for each object."""
        stdout = self._process.stdout
        assert stdout is not None
        with contextlib.suppress(OSError):  # the system may not grant it; then a full pipe makes the process wait for us
            fcntl.fcntl(stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        rest = b""
        while data := os.read(stdout.fileno(), _PIPE_BYTES):
            lines = (rest + data).splitlines(keepends=True)
            rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
            stored = [line for line in lines if line.startswith(_STORED)]
            if stored:
                take(stored)
            for line in lines:
                if not line.startswith(_STORED):
                    self._note(json.loads(line), tell)
            if stored:
                self._hurry.wait(_READ_PAUSE_S)
        self._ready.set()

    def _note(self, event: Mapping[str, Any], tell: Tell) -> None:
        if event["event"] == "listening":
            self._ready.set()
        elif event["event"] == "sealed":
            self._hurry.clear()
            self._sealed.set()
        else:
            tell(event)

    def seal(self) -> None:
        """Have the process seal its journal segment; a process that has died is looked after by the next round."""
        stdin = self._process.stdin
        assert stdin is not None
        self._sealed.clear()
        self._hurry.set()
        try:
            stdin.write(b"seal\n")
            stdin.flush()
        except (BrokenPipeError, ValueError):
            return
        self._sealed.wait(_SEAL_S)

    def ended(self) -> int | None:
        """Tell the exit code of a process that has ended, else None."""
        return self._process.poll()

    def close(self) -> None:
        """Ask the process to drain and end."""
        stdin = self._process.stdin
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has died, and what it was told last is still in the buffer
                stdin.close()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end; kill it when the time is up. What it had not acknowledged, the peers keep."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()
