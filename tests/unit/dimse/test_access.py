"""Who may call: the AE title bound to an address; nobody listens to the network without a guard."""

from __future__ import annotations

import pytest

from vna.dimse.access import access_list
from vna.errors import ConfigError, RefusedError
from vna.model import Local


def allowing(*entries: str, host: str = "127.0.0.1") -> Local:
    return Local(ae_title="VNA", host=host, allow=entries)


@pytest.mark.parametrize(
    ("entry", "ae_title", "address", "admitted"),
    [
        ("PACS@10.1.2.3", "PACS", "10.1.2.3", True),
        ("PACS@10.1.2.3", "PACS", "10.1.2.4", False),
        ("PACS@10.1.2.3", "pacs", "10.1.2.3", False),
        ("PACS@10.1.2.3", "OTHER", "10.1.2.3", False),
        ("PACS@10.1.0.0/16", "PACS", "10.1.200.9", True),
        ("PACS@10.1.0.0/16", "PACS", "10.2.0.1", False),
        ("PACS@localhost", "PACS", "127.0.0.1", True),
        ("PACS@10.1.2.3", "PACS", "::ffff:10.1.2.3", True),
        ("PACS@fd00::/8", "PACS", "fd00::17", True),
        ("PACS@10.1.2.3", "PACS", "nonsense", False),
    ],
)
def test_an_entry_admits_its_title_from_its_address_only(entry: str, ae_title: str, address: str, admitted: bool) -> None:
    assert access_list(allowing(entry)).admits(ae_title, address) is admitted


def test_titles_of_one_address_do_not_open_another() -> None:
    access = access_list(allowing("A@10.0.0.1", "B@10.0.0.2"))
    assert access.admits("A", "10.0.0.1")
    assert not access.admits("A", "10.0.0.2")


def test_on_loopback_without_a_list_anybody_may_call_by_any_name() -> None:
    access = access_list(Local())
    assert access.admits("WHOEVER", "127.0.0.1")
    assert access.is_called("ANY-SCP")


def test_with_a_list_the_called_title_must_be_ours() -> None:
    access = access_list(allowing("A@10.0.0.1"))
    assert access.is_called("VNA")
    assert not access.is_called("ANY-SCP")


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.17"])
def test_listening_on_the_network_unguarded_is_refused_with_the_way_out(host: str) -> None:
    with pytest.raises(RefusedError) as caught:
        access_list(Local(host=host))
    assert "allow" in caught.value.hint


@pytest.mark.parametrize("local", [Local(host="0.0.0.0", tls_certificate="x.pem"), allowing("A@10.0.0.1", host="0.0.0.0")])
def test_listening_on_the_network_with_tls_or_a_list_is_fine(local: Local) -> None:
    assert not access_list(local).is_called("ANY-SCP")


def test_every_unusable_entry_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        access_list(allowing("PACS", "@10.0.0.1", "TOO_LONG_A_TITLE_X@10.0.0.1", "A@no.such.host.invalid", "OK@10.0.0.1"))
    assert len(caught.value.problems) == 4
