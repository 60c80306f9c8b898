"""The rules: one small function a finding code. Importing this package registers them all.

To add one: write a function that takes an :class:`~vna.validate.instance.Instance` and yields
:class:`~vna.validate.registry.Found`, put ``@rule(code, severity, text, reference)`` above it, and add a test that generates
the defect; a test says which line of docs/findings.md is missing.
"""

from vna.validate.rules import classes, codestream, dates, identity, modules, pixels, text, values

__all__ = ["classes", "codestream", "dates", "identity", "modules", "pixels", "text", "values"]
