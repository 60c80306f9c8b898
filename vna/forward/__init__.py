"""Sending to a target what the ledger says is due there: fileable objects that the target has neither taken nor refused.

Nouns: plan (the studies with due objects), outcome (what the target said to one object: sent, warning, refused, failed).
Quarantined objects and variants are never sent.
"""

from vna.forward.plan import ForwardOptions, plan
from vna.forward.run import ForwardResult, run

__all__ = ["ForwardOptions", "ForwardResult", "plan", "run"]
