"""Correct what is wrong in headers, as data that can be taken back; what lies in the store stays as received.

Nouns: rule (which objects, which elements, which new values, why), assignment (one element's new value), planned object (one
object with the changes that are due), revision (what is written: :mod:`vna.archive.revisions`), follower (an object whose
references follow a UID that changed).

:func:`plan` says what would change, :func:`apply` writes revisions, :func:`revert` takes them back, :func:`materialise` writes
corrected files beside the originals for sites that want them, :func:`decide_variants` says which of several objects under one UID
stands for it.
"""

from vna.correct.apply import apply, revert
from vna.correct.decided import Decided, rule_of_decisions
from vna.correct.materialise import materialise
from vna.correct.plan import plan
from vna.correct.request import load_rules, rule_of_settings
from vna.correct.result import CorrectOptions, CorrectResult, UidPolicy
from vna.correct.variants import VariantPolicy, decide_variants

__all__ = [
    "CorrectOptions",
    "CorrectResult",
    "Decided",
    "UidPolicy",
    "VariantPolicy",
    "apply",
    "decide_variants",
    "load_rules",
    "materialise",
    "plan",
    "revert",
    "rule_of_decisions",
    "rule_of_settings",
]
