"""Who listens for a C-MOVE: this run, or a receiver of the same archive that has the port already."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.unit.pull.conftest import Site
from vna.archive.receivers import Receiver, announced, relying_on, running_receiver
from vna.dimse.storage_scp import storage_scp
from vna.errors import ConfigError
from vna.pull.source import Listening, StoppedError


def test_a_receiver_of_the_same_archive_is_used_and_its_journal_read(site: Site) -> None:
    uids = {*site.fill("P1", 3), *site.fill("P2", 2)}
    site.inventory()
    receiver = Receiver("VNA", "127.0.0.1", site.local.port)
    with site.archive.sink() as sink, storage_scp(site.local, sink), announced(site.archive.root, receiver):
        result = site.pull(workers=2)
    assert (result.instances, result.missing) == (5, 0)
    assert site.stored() == uids
    assert len(site.retrieves()) == 2


def test_a_receiver_that_is_not_announced_yet_is_waited_for(site: Site) -> None:
    uids = set(site.fill("P1", 2))
    site.inventory()
    receiver = Receiver("VNA", "127.0.0.1", site.local.port)
    with site.archive.sink() as sink, storage_scp(site.local, sink), ThreadPoolExecutor(1) as beside:
        pulling = beside.submit(site.pull)
        with pytest.raises(TimeoutError):
            pulling.result(0.8)
        with announced(site.archive.root, receiver):
            assert pulling.result(60).missing == 0
    assert site.stored() == uids


def test_a_port_that_becomes_free_meanwhile_is_taken(site: Site) -> None:
    uids = set(site.fill("P1", 2))
    site.inventory()
    other = site.archive.create(f"{site.archive.url}-other")
    with ThreadPoolExecutor(1) as beside:
        with other.sink() as sink, storage_scp(site.local, sink):
            pulling = beside.submit(site.pull)
            with pytest.raises(TimeoutError):
                pulling.result(0.3)
        assert pulling.result(60).missing == 0
    assert site.stored() == uids


def test_a_port_that_somebody_else_has_is_a_configuration_error(site: Site) -> None:
    site.fill("P1", 1)
    site.inventory()
    other = site.archive.create(f"{site.archive.url}-other")
    with other.sink() as sink, storage_scp(site.local, sink), pytest.raises(ConfigError, match="cannot listen"):
        site.pull()
    assert site.retrieves() == []


def test_a_receiver_of_another_name_is_a_configuration_error(site: Site) -> None:
    site.fill("P1", 1)
    site.inventory()
    receiver = Receiver("ANOTHER", "127.0.0.1", site.local.port)
    with announced(site.archive.root, receiver), pytest.raises(ConfigError, match="ANOTHER"):
        site.pull()


def test_a_pull_that_is_done_receives_on_while_another_one_relies_on_it(site: Site) -> None:
    with site.archive.sink() as sink, ExitStack() as ours, ThreadPoolExecutor(1) as beside:
        ours.enter_context(Listening(site.archive, site.node, site.local, sink))
        theirs = Listening(site.archive, site.node, site.local, sink)
        with theirs.held():
            assert theirs.is_foreign
            ending = beside.submit(ours.close)
            while running_receiver(site.archive.root, site.local.port) == Receiver("VNA", "127.0.0.1", site.local.port):
                assert not ending.done()
            with relying_on(site.archive.root, site.local.port) as receiver:
                assert receiver is None
            assert is_open(site.local.port)
        with theirs.held():
            assert ending.done()
            assert not theirs.is_foreign
            assert is_open(site.local.port)
        theirs.stop()
    assert not is_open(site.local.port)


def test_nobody_waits_for_ever_for_those_that_rely_on_a_receiver(site: Site) -> None:
    receiver = Receiver("VNA", "127.0.0.1", site.local.port)
    with announced(site.archive.root, receiver) as announcement:
        with relying_on(site.archive.root, site.local.port) as found:
            assert found == receiver
            assert not announcement.last_call(0.05)
        assert announcement.last_call(0.0)


def test_a_pull_that_is_given_up_waits_for_no_port(site: Site) -> None:
    receiver = Receiver("VNA", "127.0.0.1", site.local.port)
    with site.archive.sink() as sink, announced(site.archive.root, receiver) as announcement, ThreadPoolExecutor(1) as beside:
        announcement.last_call(0.0)
        listening = Listening(site.archive, site.node, site.local, sink)
        waiting = beside.submit(listening.ensure)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        listening.stop()
        with pytest.raises(StoppedError):
            waiting.result(60)


def is_open(port: int) -> bool:
    with socket.socket() as peer:
        return peer.connect_ex(("127.0.0.1", port)) == 0
