"""Bringing what a source lists into the archive: by C-MOVE to our own storage SCP, or by C-GET.

Nouns: plan (the studies with outstanding instances), request (one retrieve), arrival (a receipt, attributed to a study under
way), ladder (study, series, instances: what is asked for when the wider request did not bring everything), outstanding
(expected, not given up, and no object yet).
"""

from vna.pull.plan import PullOptions, PullPlan, plan
from vna.pull.run import PullResult, run
from vna.pull.source import Method

__all__ = ["Method", "PullOptions", "PullPlan", "PullResult", "plan", "run"]
