"""Export: copy instances out of the archive as Part 10 files, in a tree by study and series.

Nouns: options (what to export), result, withheld (an instance that waits for a decision and is left out unless asked for).
"""

from vna.export.run import ExportOptions, ExportResult, run

__all__ = ["ExportOptions", "ExportResult", "run"]
