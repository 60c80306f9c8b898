"""Reconcile the archive with the RIS: rules decide, scores propose, people sign.

Nouns: list (what RIS or PACS say they hold), level (patient or exam), candidate (a pair worth comparing), comparison (how its
fields agree), rule (what decides), score (what ranks), link (a pair, or a row alone, with its outcome), group (links that hang
together), decision file (all links, frozen, and what people answered).

Stages of a match: ``lists`` reads, ``merges`` applies A40, ``names``, ``dates`` and ``identifiers`` normalise and compare,
``blocking`` proposes pairs, ``scoring`` weighs them, ``patients`` and ``exams`` decide, ``decisions`` keeps, ``worklist`` asks,
``report`` tells.
"""
