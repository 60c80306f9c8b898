"""Who may associate with us: ``[local] allow`` binds a calling AE title to an address (``AE@host``, ``AE@10.1.0.0/16``)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from vna.errors import ConfigError, RefusedError
from vna.model import Local

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AccessList:
    """The parsed allow list; ``entries`` None admits everybody. AE titles are case-sensitive (PS3.5 6.2)."""

    entries: tuple[tuple[str, tuple[Network, ...]], ...] | None
    called: str = ""

    def admits(self, calling_ae_title: str, address: str) -> bool:
        """Say whether this AE title may call from this address."""
        if self.entries is None:
            return True
        return any(ae == calling_ae_title and _within(address, networks) for ae, networks in self.entries)

    def is_called(self, called_ae_title: str) -> bool:
        """Say whether the peer means us. Without an allow list on loopback any name will do."""
        return not self.called or called_ae_title == self.called


def access_list(local: Local) -> AccessList:
    """Build the access list of ``[local]``.

    Raises RefusedError for an address other than loopback with neither allow list nor TLS, ConfigError for entries that cannot
    be read (all at once).
    """
    loopback = is_loopback(local.host)
    if not loopback and not local.allow and not local.tls_certificate:
        raise RefusedError(
            f"listening on {local.host or 'every address'} would let anybody on the network store objects",
            hint='list who may call in [local] allow = ["AE@host", ...], set up TLS, or listen on 127.0.0.1',
        )
    if not local.allow:
        return AccessList(None, "" if loopback else local.ae_title)
    problems: list[str] = []
    entries = tuple(_entry(text, problems) for text in local.allow)
    if problems:
        raise ConfigError(
            problems, hint='entries of [local] allow are "AE@host": a name, an address or a network such as 10.1.0.0/16'
        )
    return AccessList(entries, local.ae_title)


def is_loopback(host: str) -> bool:
    """Say whether every address of ``host`` is this machine's own; '' means all interfaces, and an unknown name may mean any."""
    networks = _networks(host) if host else ()
    return bool(networks) and all(network.network_address.is_loopback for network in networks)


def _entry(text: str, problems: list[str]) -> tuple[str, tuple[Network, ...]]:
    ae, _, host = text.partition("@")
    ae, host = ae.strip(), host.strip()
    networks = _networks(host) if host else ()
    if not 0 < len(ae) <= 16 or not host:
        problems.append(f"{text!r} in [local] allow is not AE@host")
    elif not networks:
        problems.append(f"the host of {text!r} in [local] allow is not known")
    return ae, networks


def _networks(host: str) -> tuple[Network, ...]:
    try:
        return (ipaddress.ip_network(host, strict=False),)
    except ValueError:
        pass
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return ()
    return tuple(ipaddress.ip_network(address.partition("%")[0]) for address in sorted(found))


def _within(address: str, networks: Iterable[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed.version == network.version and parsed in network for network in networks)
