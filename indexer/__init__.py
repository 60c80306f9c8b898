"""What is in these DICOM files?

A single-pass header scanner, text decoding by Specific Character Set, and a Delta Lake table of the result. Nouns: header
(the wanted elements of one data set), problem (a coded defect of its structure), scan (header and problems of one file), row
(one object's index columns), table (the rows of many objects, kept in Delta Lake).

``header``, ``problems``, ``scan``, ``schema`` and ``text`` need the standard library only, so that a receiver can import them
without paying for pyarrow; ``table`` and ``query`` hold the Delta Lake and DuckDB code.
"""
