"""``python -m benchmarks.faults``: random operations on a store in S3, by several writers, through a network that fails.

Every request may meet a fault of :mod:`tests.support.s3_proxy`; besides, the service falls ill for a while (500, 503), and the
credentials expire for a while. A model keeps what each writer was told, and says what must hold: nothing acknowledged is lost,
of several writers to one name exactly one wins, whoever reads sees the whole of one writer's bytes and always the same, and when
the network is well again nothing is left of which nobody knows whether it was done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path

from tests.support.s3 import S3Service, s3_service
from tests.support.s3_proxy import Fault, Request, S3Proxy, s3_proxy
from vna.errors import InstanceMissingError, StoreError
from vna.store import Store
from vna.store.s3 import Retry, S3Store

_PART = 5 << 20
_RETRY = Retry(first_wait_s=0.001, longest_wait_s=0.02)
_READ_TIMEOUT_S = 2
_NAMES_AT_ONCE = 24
_OPERATIONS_A_NAME = 8
_LARGEST = 48 << 10

_ANY = (Fault.INTERNAL_ERROR, Fault.SLOW_DOWN, Fault.REFUSE_CONNECTION)
_WRITING = (*_ANY, Fault.LOSE_ANSWER, Fault.ERROR_AFTER, Fault.CUT_UPLOAD)
FAULTS: dict[str, tuple[Fault, ...]] = {
    "put": (*_WRITING, Fault.CONFLICT),
    "begin": _WRITING,
    "part": _WRITING,
    "complete": (*_WRITING, Fault.CONFLICT),
    "get": (*_ANY, Fault.SHORT_BODY, Fault.SHORT_AND_FITTING),
    "list": (*_ANY, Fault.EMPTY_LIST, Fault.SHORT_BODY),
}
"""What may go wrong with a request of each kind; with every other :data:`_ANY`."""


class Weather:
    """Chooses a fault for each request: single ones, and now and then many in a row. Thread-safe; the same for the same seed."""

    def __init__(self, seed: int, rate: float = 0.12) -> None:
        self._dice = random.Random(seed)
        self._rate = rate
        self._guard = threading.Lock()
        self._row: list[Fault] = []
        self.is_bad = True

    def decide(self, request: Request) -> Fault:
        """Give the fault of one request."""
        with self._guard:
            if not self.is_bad:
                return Fault.NONE
            if self._row:
                return self._row.pop()
            chance = self._dice.random()
            if chance < 0.0005:
                self._row = [Fault.EXPIRED] * self._dice.randint(1, 8)
            elif chance < 0.002:
                self._row = self._dice.choices((Fault.INTERNAL_ERROR, Fault.SLOW_DOWN), k=self._dice.randint(10, 80))
            elif chance < 0.005 and request.operation in ("put", "complete"):
                return Fault.TIME_OUT
            elif chance < 0.0055 and request.operation == "put":
                return Fault.FULL
            elif chance > 1 - self._rate:
                return self._dice.choice(FAULTS.get(request.operation, _ANY))
            return Fault.NONE


@dataclass
class Storm:
    """What came of it: operations by kind, faults by kind, and everything that was wrong."""

    seed: int
    service: str
    operations: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    raised: Counter[str] = field(default_factory=Counter)
    resolved: int = 0
    objects: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Model:
    """What each writer was told about each name, and what follows for whoever looks. Thread-safe."""

    def __init__(self, problems: Counter[str]) -> None:
        self._problems = problems
        self._guard = threading.Lock()
        self._puts: dict[str, dict[int, int]] = defaultdict(dict)
        self._stands: dict[str, int] = {}
        self._number = 0
        self._unanswered: list[tuple[str, int, Path | None]] = []

    def begin(self, name: str, size: int) -> tuple[int, bytes]:
        """Note that a put begins; gives its number and the bytes that it puts."""
        with self._guard:
            self._number += 1
            self._puts[name][self._number] = size
            return self._number, content(name, self._number, size)

    def told(self, name: str, number: int, won: bool) -> None:
        """Note what a put was told."""
        if won:
            self._is(name, number, "a second writer was told that its object stands")

    def unanswered(self, name: str, number: int, local: Path | None) -> None:
        """Note a put that raised: nobody knows whether it was done. ``local`` is the spool file that it published, if any."""
        with self._guard:
            self._unanswered.append((name, number, local))

    def questions(self) -> list[tuple[str, int, Path | None]]:
        """Name each put that was not answered."""
        return list(self._unanswered)

    def known(self, name: str) -> bool:
        """Tell whether it is certain that an object stands there."""
        with self._guard:
            return name in self._stands

    def acknowledged(self) -> set[str]:
        """Name every object that stands for certain."""
        with self._guard:
            return set(self._stands)

    def found(self, name: str, data: bytes) -> None:
        """Judge what somebody read: the whole of what one put gave, and the same as anybody else read."""
        number = int(data[:12] or -1) if data[:12].isdigit() else -1
        size = self._puts[name].get(number)
        if size is None or data != content(name, number, size):
            self.wrong("bytes that nobody put, or a part of them")
        else:
            self._is(name, number, "an object changed, or is not the one that was acknowledged")

    def replaced(self, name: str, data: bytes) -> None:
        """Judge what somebody read under a name whose object may be replaced."""
        number = int(data[:12]) if data[:12].isdigit() else -1
        if data != content(name, number, self._puts[name].get(number, 0)):
            self.wrong("a replaced object is not whole")

    def wrong(self, what: str) -> None:
        """Note a problem."""
        with self._guard:
            self._problems[what] += 1

    def _is(self, name: str, number: int, otherwise: str) -> None:
        with self._guard:
            if self._stands.setdefault(name, number) != number:
                self._problems[otherwise] += 1


def content(name: str, number: int, size: int) -> bytes:
    """Make the bytes of one put, from which its number can be read."""
    seed = hashlib.sha256(f"{name} {number}".encode()).digest()
    return (b"%012d" % number + seed * (size // 32 + 1))[: 12 + size]


class Writer:
    """One of several that do random operations on the same names, each through a store of its own."""

    def __init__(self, store: Store, model: Model, storm: Storm, proxy: S3Proxy, folder: Path, seed: int) -> None:
        self._store = store
        self._model = model
        self._storm = storm
        self._proxy = proxy
        self._folder = folder
        self._dice = random.Random(seed)
        self._files = 0
        self._done = 0
        self._kinds: dict[str, tuple[Callable[[str], None], int]] = {
            "put_bytes": (self._put_bytes, 250),
            "put_stream": (self._put_stream, 80),
            "put_file": (self._put_file, 60),
            "publish": (self._publish, 150),
            "publish large": (self._publish_large, 3),
            "replace_bytes": (self._replace, 50),
            "read_bytes": (self._read, 130),
            "open": (self._open, 130),
            "exists": (self._exists, 80),
            "size": (self._size, 40),
            "list": (self._list, 27),
        }

    def run(self, operations: int) -> None:
        """Do so many operations; StoreError of one of them is counted, and what it left unknown is noted."""
        kinds = list(self._kinds)
        weights = [weight for _, weight in self._kinds.values()]
        for _ in range(operations):
            (kind,) = self._dice.choices(kinds, weights)
            self._done += 1
            try:
                self._kinds[kind][0](self._name())
            except StoreError as exc:
                self._storm.raised[f"{kind}: {type(exc).__name__}"] += 1
            self._storm.operations[kind] += 1

    def _name(self) -> str:
        number = self._done * 4 // _OPERATIONS_A_NAME + self._dice.randrange(_NAMES_AT_ONCE)
        return f"instances/{number % 16:02x}/{number}.dcm"

    def _create(self, name: str, size: int, put: Callable[[bytes], bool], local: Path | None = None) -> None:
        number, data = self._model.begin(name, size)
        try:
            won = put(data)
        except StoreError:
            self._model.unanswered(name, number, local)
            raise
        self._model.told(name, number, won)

    def _put_bytes(self, name: str) -> None:
        self._create(name, self._some(), lambda data: self._store.put_bytes(data, name))

    def _put_stream(self, name: str) -> None:
        self._create(name, self._some(), lambda data: self._store.put_stream(BytesIO(data), name))

    def _put_file(self, name: str) -> None:
        local = self._spool_file()
        self._create(name, self._some(), lambda data: self._store.put_file(_written(local, data), name))
        local.unlink()

    def _publish(self, name: str) -> None:
        self._publish_one(name, self._some())

    def _publish_large(self, name: str) -> None:
        self._publish_one(name, _PART + self._dice.randrange(1000))

    def _publish_one(self, name: str, size: int) -> None:
        local = self._spool_file()
        self._create(name, size, lambda data: self._store.publish([(_written(local, data), name)])[0], local)
        local.unlink()

    def _replace(self, name: str) -> None:
        name = name.replace("instances", "manifests")
        _, data = self._model.begin(name, self._some())
        self._store.replace_bytes(data, name)
        self._model.replaced(name, self._store.read_bytes(name))

    def _read(self, name: str) -> None:
        self._look(name, self._store.read_bytes)

    def _open(self, name: str) -> None:
        def read(path: str) -> bytes:
            with self._store.open(path) as file:
                return file.read()

        self._look(name, read)

    def _look(self, name: str, read: Callable[[str], bytes]) -> None:
        is_there = self._model.known(name)
        try:
            data = read(name)
        except InstanceMissingError:
            if is_there:
                self._model.wrong("an acknowledged object is not there")
            return
        self._model.found(name, data)

    def _exists(self, name: str) -> None:
        is_there = self._model.known(name)
        if not self._store.exists(name) and is_there:
            self._model.wrong("an acknowledged object is said not to be there")

    def _size(self, name: str) -> None:
        is_there = self._model.known(name)
        try:
            self._store.size(name)
        except InstanceMissingError:
            if is_there:
                self._model.wrong("an acknowledged object is said not to be there")

    def _list(self, name: str) -> None:
        folder = name.rpartition("/")[0]
        expected = {each for each in self._model.acknowledged() if each.startswith(f"{folder}/")}
        before = self._proxy.faults[Fault.EMPTY_LIST]
        listed = set(self._store.list(folder))
        if not expected <= listed and self._proxy.faults[Fault.EMPTY_LIST] == before:
            self._model.wrong("a list leaves out an acknowledged object")

    def _some(self) -> int:
        return self._dice.randrange(_LARGEST)

    def _spool_file(self) -> Path:
        self._files += 1
        return self._folder / f"{self._files:08d}.part"


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def storm(service: S3Service, folder: Path, *, operations: int, seed: int, writers: int = 4, rate: float = 0.12) -> Storm:
    """Do ``operations`` in bad weather, then look at everything in good weather. Nothing wrong means no ``problems``."""
    result = Storm(seed, service.kind)
    model = Model(result.problems)
    url = service.url()
    started = time.monotonic()
    with s3_proxy(service.port) as proxy:
        options = {**service.storage_options(proxy.port), "config_kwargs": {"read_timeout": _READ_TIMEOUT_S}}
        weather = Weather(seed, rate)
        stores = [S3Store(url, options, retry=_RETRY, multipart_above=_PART) for _ in range(writers)]
        for store in stores:
            store.probe()
        proxy.decide = weather.decide
        hands = []
        for number, store in enumerate(stores):
            spool = folder / f"{seed}-{number}"
            spool.mkdir(parents=True)
            hands.append(Writer(store, model, result, proxy, spool, seed * 1000 + number))
        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(lambda hand: hand.run(operations // writers), hands))
        weather.is_bad = False
        _resolve(stores[0], model, result)
        result.requests, result.faults = proxy.requests.total(), proxy.faults
    _look_at_everything(service, url, model, result)
    result.seconds = time.monotonic() - started
    return result


def _resolve(store: Store, model: Model, result: Storm) -> None:
    """Find out, now that the network is well, what became of each put that was not answered: nobody may be left in doubt."""
    for name, number, local in model.questions():
        if local is not None:
            model.told(name, number, store.came_from(local, name) or store.publish([(local, name)])[0])
        else:
            again, data = model.begin(name, 100)
            model.told(name, again, store.put_bytes(data, name))
        if not store.exists(name):
            model.wrong("a put was repeated, and nothing stands there")
        result.resolved += 1


def _look_at_everything(service: S3Service, url: str, model: Model, result: Storm) -> None:
    store = S3Store(url, service.storage_options())
    keys = [key for key in service.keys(url) if not key.startswith("spool/")]
    result.objects = len(keys)
    for key in keys:
        (model.replaced if key.startswith("manifests/") else model.found)(key, store.read_bytes(key))
    for _ in model.acknowledged() - set(keys):
        model.wrong("an acknowledged object is lost")


def main() -> None:
    """Run it on the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.faults", description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.12, help="how many of the requests meet a fault of their own")
    parser.add_argument("--service", choices=("seaweedfs", "moto"), default="seaweedfs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vna-faults-") as folder, s3_service(options.service, Path(folder) / "s3") as service:
        result = storm(
            service,
            Path(folder) / "spool",
            operations=options.operations,
            seed=options.seed,
            writers=options.writers,
            rate=options.rate,
        )
    if options.json:
        print(json.dumps(asdict(result)))
    else:
        print(
            f"{result.operations.total()} operations, {result.requests} requests, {result.faults.total()} faults, "
            f"{result.raised.total()} operations raised, {result.resolved} unknown outcomes resolved, {result.objects} objects, "
            f"{result.problems.total()} problems ({result.seconds:.0f} s, {result.service}, seed {result.seed})"
        )
        for name, counts in (("operations", result.operations), ("faults", result.faults), ("raised", result.raised)):
            print(f"{name}: {', '.join(f'{kind} {count}' for kind, count in sorted(counts.items()))}")
        for problem, count in result.problems.most_common():
            print(f"PROBLEM {count} times: {problem}")
    raise SystemExit(1 if result.problems else 0)


if __name__ == "__main__":
    main()
