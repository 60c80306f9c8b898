"""The whole pipeline on loopback with real test images, and the peers that it needs.

Nouns: embedded PACS (an archive in this process, with switchable faults), image files (what pydicom ships), report.
"""
