"""Scrub: read every stored object again and compare it with what was recorded when it came.

Nouns: record (a digest that was written down: in the journal, the index, a manifest, a name), finding (an object that is not what
any record says), copy (another archive with the same objects, which is only ever read), pass (one run over all objects; it may
take weeks, and goes on where it stopped), pace (bytes a second that a pass may read).

A digest of 256 bits does not fit by chance: an object that agrees with any one of its records is intact, and a record that
differs is the damaged one. So nothing good is ever replaced, whatever has rotted.
"""

from vna.scrub.codes import CODES
from vna.scrub.run import ScrubOptions, ScrubResult, run

__all__ = ["CODES", "ScrubOptions", "ScrubResult", "run"]
