"""Every bound of the network code in one place. Each is explicit, has a unit in its name, and has a test that hits it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

ASSOCIATE_BYTES: Final = 1 << 20
"""The longest A-ASSOCIATE-RQ or -AC that is read: 128 contexts with 100 transfer syntaxes each fit."""

CONTEXTS: Final = 128
"""Presentation context IDs are the odd numbers from 1 to 255 (PS3.8 9.3.2.2)."""

TRANSFER_SYNTAXES: Final = 256
"""The most transfer syntaxes in one proposed context."""

COMMAND_BYTES: Final = 64 << 10
"""The longest command set that is read; the longest of PS3.7 Annex E has a few hundred bytes."""

IDENTIFIER_BYTES: Final = 16 << 20
"""The longest identifier of a response that is read into memory; a Failed SOP Instance UID List of 200,000 fits."""

LEAST_SHARE: Final = 8
"""The least of half-open connections, and of one address' connections of either kind, that a share of the limits grants."""

MIN_RATE: Final = 1024
"""The least bytes a second of a data set that is taken for alive."""


@dataclass(frozen=True, slots=True)
class ScpLimits:
    """What the storage SCP grants its peers.

    ``max_pdu`` is announced and enforced; ``first_pdu_s`` runs from the accept, ``handshake_s`` likewise where TLS is spoken.
    ``stall_s`` is the longest silence inside a message, ``idle_s`` between messages. A data set slower than ``min_rate`` bytes a
    second after ``min_rate_after_s`` is given up. Half-open connections (``waiting``) never count against ``associations``.
    """

    max_pdu: int = 256 << 10
    object_bytes: int = 8 << 30
    associations: int = 256
    associations_per_address: int = 128
    waiting: int = 256
    waiting_per_address: int = 64
    waiting_bytes: int = 32 << 20
    first_pdu_s: float = 10
    handshake_s: float = 5
    idle_s: float = 600
    stall_s: float = 60
    min_rate: int = MIN_RATE
    min_rate_after_s: float = 60
    window: int = 8
    drain_s: float = 30

    def share(self, processes: int) -> ScpLimits:
        """Return what each of so many processes at one port may grant, so that together they grant what these limits say.

        Parts are rounded up. None is less than :data:`LEAST_SHARE` where a smaller one would hinder honest peers, and half-open
        connections may always hold two whole requests.
        """

        def part(whole: int, least: int = 1) -> int:
            return max(-(-whole // processes), min(whole, least))

        return replace(
            self,
            associations=part(self.associations),
            associations_per_address=part(self.associations_per_address, LEAST_SHARE),
            waiting=part(self.waiting, LEAST_SHARE),
            waiting_per_address=part(self.waiting_per_address, LEAST_SHARE),
            waiting_bytes=part(self.waiting_bytes, 2 * ASSOCIATE_BYTES),
        )
