"""Who listens for a C-MOVE: this run, or a receiver of the same archive that has the port already."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.unit.pull.conftest import Site
from vna.archive.receivers import Receiver, announced
from vna.dimse.storage_scp import storage_scp
from vna.errors import ConfigError


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
