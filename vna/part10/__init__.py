"""Part 10 framing: the file meta information that this archive writes before every data set, and reading it back.

Nouns: file meta (preamble, prefix and group 0002 of PS3.10 7.1), canonical (the one form that format 1 of the archive uses), head
(what the canonical file meta of one stored file says).
"""

from vna.part10.framing import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    PREAMBLE_AND_PREFIX,
    Head,
    file_meta,
    head_of,
    read_head,
)

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "PREAMBLE_AND_PREFIX",
    "Head",
    "file_meta",
    "head_of",
    "read_head",
]
