"""What a source says it holds, with proof that its answers were not cut off.

Nouns: window (what one C-FIND asks for), answer (its records, and the refusal if there was one), survey (all windows and the
studies found in them), listing (a study's series and instances), evidence (the file that tells how the source was covered).
"""

from vna.inventory.run import InventoryOptions, InventoryResult, plan, run

__all__ = ["InventoryOptions", "InventoryResult", "plan", "run"]
