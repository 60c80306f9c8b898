"""The whole pipeline on loopback with real test images, and the peers that it needs.

Nouns: embedded PACS (an archive in this process, with switchable faults), image files (what pydicom ships), stage line, report.
:func:`vna.demo.run.run` is the demo, :func:`vna.demo.terminal.render` shows its result; neither is imported here, so that
the PACS alone costs no stage.
"""
