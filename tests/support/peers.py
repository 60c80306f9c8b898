"""Real peers on free loopback ports: DCMTK's dcmqrscp and storescp, and Orthanc.

Each is a context manager that returns when the peer answers and ends it by its process id. All run with ``TCP_NODELAY=1``
(without it each message waits for a delayed acknowledgement of 40 ms; ``nodelay=False`` leaves it so), and write what they say
to a file.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.support.instances import data_set_of, real_image_files
from tests.support.sending import Sent, send_files
from vna.demo.dcmqrscp import configuration
from vna.demo.images import ImageFile
from vna.model import Node

HOST = "127.0.0.1"
START_S = 30
PROFILE = "Any"
UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2")
_SERVICES = ("1.2.840.10008.1.1", *(f"1.2.840.10008.5.1.4.1.2.{root}.{service}" for root in (1, 2) for service in (1, 2, 3)))
EXECUTABLES = {"dcmtk": ("dcmqrscp", "storescp", "movescu", "findscu", "storescu"), "orthanc": ("Orthanc",)}


def free_port() -> int:
    """Return a TCP port that nothing listened on a moment ago.

    It lies below the range from which the system gives ports to connections (32768 on), so that none of those takes it in the
    meantime; it is drawn at random, so that suites that run side by side do not draw the same.
    """
    for _ in range(100):
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind((HOST, port))
            return port
    raise RuntimeError("no free port was found")


def missing_executables(peer: str) -> list[str]:
    """List the programs of ``peer`` (``dcmtk``, ``orthanc``) that are not on the path."""
    return [name for name in EXECUTABLES[peer] if _executable(name) is None]


def require_peer(peer: str) -> None:
    """Skip the test where ``peer`` is not installed and say how to get it; with ``CI=true`` fail instead."""
    missing = missing_executables(peer)
    if missing:
        skip_unless_ci(f"needs {', '.join(missing)}: apt-get install {peer} (scripts/test does that as root on Debian)")


def skip_unless_ci(reason: str) -> None:
    """Skip the test for a part that is missing; with ``CI=true``, where nothing may be missing, fail instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _executable(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass
class Peer:
    """A running peer: its address, its process and the file with what it said."""

    ae_title: str
    port: int
    folder: Path
    log: Path
    process: subprocess.Popen[bytes]
    host: str = HOST

    def node(self, name: str = "peer", **options: Any) -> Node:
        """Describe this peer as the product names it."""
        return Node(name=name, ae_title=self.ae_title, host=self.host, port=self.port, **options)

    def output(self) -> str:
        """Return what the peer has said so far."""
        return self.log.read_text(errors="replace")


@dataclass
class StorageScp(Peer):
    """A running storescp, which writes what it receives to ``received``."""

    received: Path = field(kw_only=True)

    def objects(self) -> dict[str, Received]:
        """Return what arrived by SOP Instance UID; the last one where a UID came twice."""
        return read_received(self.received)


@dataclass
class OrthancPeer(Peer):
    """A running Orthanc with a little of its REST interface."""

    http_port: int = field(kw_only=True)

    def rest(self, path: str, *, method: str = "GET", body: Any = None) -> Any:
        """Ask the REST interface; JSON answers are decoded, others come as bytes."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{HOST}:{self.http_port}{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            content = response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
        return json.loads(content) if is_json else content

    def stored(self) -> list[tuple[str, str]]:
        """List what Orthanc holds as (SOP Instance UID, Orthanc's own identifier)."""
        listed = self.rest("/instances?expand")
        return sorted((entry["MainDicomTags"]["SOPInstanceUID"], entry["ID"]) for entry in listed)

    def sop_instance_uids(self) -> set[str]:
        """Return the SOP Instance UIDs that Orthanc holds."""
        return {uid for uid, _ in self.stored()}

    def file(self, sop_instance_uid: str) -> bytes:
        """Return the exact Part 10 file that Orthanc keeps of an instance."""
        identifier = next(identifier for uid, identifier in self.stored() if uid == sop_instance_uid)
        content: bytes = self.rest(f"/instances/{identifier}/file")
        return content

    def add_modality(self, name: str, ae_title: str, port: int) -> None:
        """Make ``ae_title`` known as a destination of C-MOVE."""
        self.rest(f"/modalities/{name}", method="PUT", body=_modality(ae_title, port))


@dataclass(frozen=True, slots=True)
class Received:
    """One object as it came over the wire."""

    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes


def read_received(folder: Path) -> dict[str, Received]:
    """Read the Part 10 files that a bit-preserving storescp wrote, by SOP Instance UID of their meta information."""
    objects = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        meta = pydicom.filereader.read_file_meta_info(path)
        uid = str(meta.MediaStorageSOPInstanceUID)
        objects[uid] = Received(uid, str(meta.TransferSyntaxUID), data_set_of(content))
    return objects


@contextmanager
def storescp(
    folder: Path,
    *,
    ae_title: str = "STORESCP",
    port: int = 0,
    args: Sequence[str] = ("+B", "+xa", "-pm", "+uf", "-pdu", "131072"),
    nodelay: bool = True,
) -> Iterator[StorageScp]:
    """Run storescp, which by default takes every SOP class and transfer syntax and writes the bits as they come."""
    require_peer("dcmtk")
    received = folder / "received"
    received.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = ["storescp", "-v", "-aet", ae_title, *args, "-od", str(received), str(port)]
    with running(command, folder, "storescp", [port], nodelay=nodelay) as process:
        yield StorageScp(ae_title, port, folder, folder / "storescp.log", process, received=received)


@contextmanager
def dcmqrscp(
    folder: Path,
    *,
    ae_title: str = "QR",
    destinations: Iterable[tuple[str, int]] = (),
    accept_all: bool = False,
    extra_args: Sequence[str] = (),
    port: int = 0,
    database: Path | None = None,
    nodelay: bool = True,
) -> Iterator[Peer]:
    """Run DCMTK's dcmqrscp over ``database`` (default: ``folder/db``), which stays: it can be run again with other options.

    By default it takes uncompressed objects only and refuses the context of every compressed transfer syntax. With
    ``accept_all`` it takes every SOP class and transfer syntax of the real images; use that to load it. By C-MOVE it sends one
    family of transfer syntaxes in one run: uncompressed, or what ``extra_args`` says (``-xs`` JPEG lossless, ``-xy`` JPEG
    baseline, ``-xx`` JPEG extended, ``-xv`` JPEG 2000 lossless, ``-xw`` JPEG 2000, ``-xt`` JPEG-LS lossless, ``-xu`` JPEG-LS,
    ``-xr`` RLE, ``-xd`` deflated); DCMTK allows none of these together with ``accept_all``.
    """
    require_peer("dcmtk")
    database = database or folder / "db"
    folder.mkdir(parents=True, exist_ok=True)
    database.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    config = folder / "dcmqrscp.cfg"
    config.write_text(configuration(port, ae_title, database, destinations))
    profile: list[str] = []
    if accept_all:
        (folder / "associations.cfg").write_text(_association_profile(real_image_files()))
        profile = ["-xf", str(folder / "associations.cfg"), PROFILE, PROFILE]
    command = ["dcmqrscp", "-v", "-c", str(config), *profile, *extra_args]
    with running(command, folder, "dcmqrscp", [port], nodelay=nodelay) as process:
        yield Peer(ae_title, port, folder, folder / "dcmqrscp.log", process)


def _association_profile(images: Iterable[ImageFile]) -> str:
    """Write a profile of DCMTK (its asconfig.txt) that accepts the SOP classes and transfer syntaxes of ``images``."""
    known = list(images)
    compressed = sorted({image.transfer_syntax_uid for image in known} - set(UNCOMPRESSED))
    classes = [*_SERVICES, *sorted({image.sop_class_uid for image in known})]
    lines = ["[[TransferSyntaxes]]", "[Any]"]
    lines += [f"TransferSyntax{n} = {uid}" for n, uid in enumerate([*compressed, *UNCOMPRESSED], 1)]
    lines += ["[[PresentationContexts]]", "[All]"]
    lines += [f"PresentationContext{n} = {uid}\\Any" for n, uid in enumerate(classes, 1)]
    lines += ["[[SCPSCURoleSelection]]", "[Roles]"]  # by C-GET the requestor is the SCP of storage
    lines += [f"Role{n} = {uid}\\both" for n, uid in enumerate(classes[len(_SERVICES) :], 1)]
    return "\n".join([*lines, "[[Profiles]]", f"[{PROFILE}]", "PresentationContexts = All", "SCPSCURoleSelection = Roles", ""])


@contextmanager
def orthanc(
    folder: Path,
    *,
    ae_title: str = "ORTHANC",
    modalities: Mapping[str, tuple[str, int]] | None = None,
    overwrite: bool = False,
    config: Mapping[str, Any] | None = None,
    port: int = 0,
    nodelay: bool = True,
) -> Iterator[OrthancPeer]:
    """Run Orthanc over ``folder``, whose database stays. ``modalities`` maps a name to an AE title and port that C-MOVE sends to.

    It takes every transfer syntax that it knows and never transcodes. Without ``overwrite`` it answers Success to an instance
    that it has already and keeps the old one. ``config`` overrides single entries of its configuration.
    """
    require_peer("orthanc")
    folder.mkdir(parents=True, exist_ok=True)
    port, http_port = port or free_port(), free_port()
    settings: dict[str, Any] = {
        "Name": ae_title,
        "HttpPort": http_port,
        "DicomPort": port,
        "DicomAet": ae_title,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowMove": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowStore": True,
        "DicomModalities": {name: _modality(*address) for name, address in (modalities or {}).items()},
        "OverwriteInstances": overwrite,
        "TranscodeDicomProtocol": False,
        "SaveJobs": False,
        "Plugins": [],
        **(config or {}),
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings, indent=1))
    with running(
        [_executable("Orthanc") or "Orthanc", str(path)], folder, "orthanc", [http_port, port], nodelay=nodelay
    ) as process:
        yield OrthancPeer(ae_title, port, folder, folder / "orthanc.log", process, http_port=http_port)


def _modality(ae_title: str, port: int) -> dict[str, Any]:
    return {"AET": ae_title, "Host": HOST, "Port": port, "AllowTranscoding": False, "AllowStorageCommitment": True}


@contextmanager
def running(
    command: Sequence[str], folder: Path, name: str, ports: Sequence[int], *, nodelay: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` until the block ends; it has answered on all ``ports`` when the block begins."""
    log = folder / f"{name}.log"
    environment = {**os.environ, "TCP_NODELAY": "1" if nodelay else "0"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        for port in ports:
            _wait_for(port, process, log)
        yield process
    finally:
        _stop(process)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"peer does not answer on port {port}:\n{log.read_text(errors='replace')[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the peer and the children that it forked for its associations: they share a session of their own."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def load(peer: Peer | Node, paths: Iterable[Path]) -> list[Sent]:
    """Store files at a peer by C-STORE, bit by bit as they are, and say what became of each: see :class:`Sent`."""
    return send_files(peer.host, peer.port, peer.ae_title, paths)


def sent_by(
    peer: Peer,
    studies: Iterable[str],
    folder: Path,
    *,
    ae_title: str,
    port: int,
    args: Sequence[str] = ("+B", "+xa", "-pm", "+uf", "-pdu", "131072"),
) -> dict[str, Received]:
    """Return what ``peer`` sends of ``studies`` to a bit-preserving storescp: the reference for what anybody must receive.

    ``ae_title`` and ``port`` are those of a destination that the peer knows already. Where a peer proposes one context with
    several transfer syntaxes, storescp chooses by ``args`` (``+xa`` prefers little endian explicit of the uncompressed ones).
    """
    with storescp(folder, ae_title=ae_title, port=port, args=args) as receiver:
        for study in studies:
            move_study(peer, study, ae_title)
        return receiver.objects()


def move_study(peer: Peer, study_instance_uid: str, destination: str) -> subprocess.CompletedProcess[str]:
    """Have DCMTK's movescu move a study to ``destination``; its output says how that ended."""
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_instance_uid}"]
    command = ["movescu", "-v", "-S", "-aet", "MOVESCU", "-aec", peer.ae_title, "-aem", destination, peer.host, str(peer.port)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run(
        [*command, *keys], capture_output=True, text=True, errors="replace", env=environment, timeout=300, check=False
    )
