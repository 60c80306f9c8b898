"""DCMTK's dcmqrscp as the legacy PACS: an archive that was not written by us."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pynetdicom import AE

from vna.demo.images import ImageFile, can_travel, data_set_of
from vna.demo.sending import NoAnswerError, NoContextError, associate, send_data_set
from vna.errors import ConfigError, UnreachableError
from vna.model import Node

HOST = "127.0.0.1"
_START_S, _STOP_S = 20.0, 10.0


def configuration(port: int, ae_title: str, database: Path, destinations: Iterable[tuple[str, int]]) -> str:
    """Write dcmqrscp's configuration: one archive in ``database``, and where it may move to (AE title and port on loopback).

    It keeps 500 studies, which is all that dcmqrscp allows, and drops the oldest where another one comes.
    """
    hosts = "\n".join(f"host{n} = ({ae}, {HOST}, {destination})" for n, (ae, destination) in enumerate(destinations))
    return (
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 64\n"
        f"HostTable BEGIN\n{hosts}\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{ae_title} {database} RW (500, 4096mb) ANY\nAETable END\n"
    )


@contextmanager
def dcmqrscp(
    folder: Path, images: Sequence[ImageFile], destinations: Iterable[tuple[str, int]], *, ae_title: str = "LEGACY"
) -> Iterator[Node]:
    """Run dcmqrscp over ``folder``, loaded with what it takes of ``images``, until the block ends.

    As it comes it takes no compressed image, and sends what it holds by C-MOVE to ``destinations`` (AE title and port on
    loopback). Raises ConfigError when it is not installed, UnreachableError when it does not start.
    """
    program = shutil.which("dcmqrscp")
    if program is None:
        raise ConfigError("dcmqrscp is not installed", hint="apt-get install dcmtk, or use `--legacy embedded`")
    (folder / "db").mkdir(parents=True, exist_ok=True)
    port = _free_port()
    (folder / "dcmqrscp.cfg").write_text(configuration(port, ae_title, folder / "db", destinations))
    command = [program, "-c", str(folder / "dcmqrscp.cfg")]
    with (folder / "dcmqrscp.log").open("wb") as log:
        environment = {**os.environ, "TCP_NODELAY": "1"}  # else each message waits 40 ms for a delayed acknowledgement
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        _wait(process, port, ae_title)
        node = Node(name="legacy", ae_title=ae_title, host=HOST, port=port, dimse_timeout_s=30, retrieve_timeout_s=60)
        _load(node, images)
        yield node
    finally:
        _stop(process)


def _load(node: Node, images: Sequence[ImageFile]) -> None:
    """Store what it takes, bit by bit; an image at which it aborts is left out, as would be one that an archive lost long ago."""
    waiting = [image for image in images if can_travel(image.transfer_syntax_uid, data_set_of(image.path))]
    ae = AE(ae_title="LOADER")
    ae.dimse_timeout = 5
    while waiting:
        pairs = ((image.sop_class_uid, image.transfer_syntax_uid) for image in waiting)
        assoc = associate(ae, node.host, node.port, node.ae_title, pairs)
        if not assoc.is_established:
            raise UnreachableError(f"{node.ae_title} accepts no association", ae_title=node.ae_title)
        while waiting:
            image = waiting.pop(0)
            with suppress(NoContextError):
                try:
                    send_data_set(
                        assoc, image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid, data_set_of(image.path)
                    )
                except NoAnswerError:
                    break
        else:
            assoc.release()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, ae_title: str) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise UnreachableError("dcmqrscp did not start", ae_title=ae_title, hint="its words are in dcmqrscp.log")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it and the children that it forked for its associations: they share a session of their own."""
    process.terminate()
    try:
        process.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
