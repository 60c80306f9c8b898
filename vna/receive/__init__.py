"""``vna receive``: a Storage SCP that files what it is sent.

One process binds the port, commits the index and tells what happens; worker processes share its socket, accept associations and
write objects and journal. A worker imports nothing of the index, so it stays small, and its death costs only what it had not
acknowledged.
"""

from vna.receive.service import ReceiveOptions, ReceiveService

__all__ = ["ReceiveOptions", "ReceiveService"]
