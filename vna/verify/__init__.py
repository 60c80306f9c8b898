"""Proof that a target holds what it acknowledged: UID sets compared at IMAGE level, data sets retrieved and compared.

Nouns: target row (one object that was forwarded), verdict (identical, equivalent, different), sample (the objects that are
compared, where not all are), bound (the largest share of differing instances that a sample leaves plausible), certificate (the
result, sealed by its digest).
"""

from vna.verify.plan import VerifyOptions, plan
from vna.verify.run import VerifyResult, run
from vna.verify.study import VERIFY_CODES
from vna.verify.target import Way

__all__ = ["VERIFY_CODES", "VerifyOptions", "VerifyResult", "Way", "plan", "run"]
