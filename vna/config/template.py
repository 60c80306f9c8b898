"""The commented vna.toml that ``vna init`` writes."""

from __future__ import annotations

import json

from vna.config.load import SPOOL

_TEXT = """\
# vna.toml: where the archive is, who we are on the DICOM network, and whom we talk to.
# Relative paths are relative to this file. `vna echo` checks every node below.

[archive]
url = {url}
# The ledger knows what was done to which study. SQLite must stand on a local disk; back it up (`vna status --backup DIR`).
ledger = {ledger}
# For an archive on S3: what s3fs takes, e.g. {{ endpoint_url = "https://..." }}. Credentials belong into the environment.
storage_options = {options}
# For an archive on S3: a folder on a local disk of this machine, where objects are until they are in the bucket, and the part of
# the journal that is not there yet. It must survive a restart; each archive has a folder of its own in it.
spool = {spool}
# When `vna receive` acknowledges an object: "stored", in the archive; or "spooled", for an archive on S3: on the local disk, with
# the upload owed. It then takes objects while S3 does not answer, but what is owed is lost if this machine's disk is.
acknowledge = "stored"

[local]
# Register this AE title, host and port at the source: C-MOVE sends the images here.
ae_title = "VNA"
# Any address but loopback needs `allow` or TLS before anything listens.
host = "127.0.0.1"
port = 11112
# Who may connect: ["PACS_ARCHIVE@10.1.2.3", ...]. Empty: anyone, on loopback only.
allow = []
# PEM files for DICOM over TLS; with tls_ca, clients must show a certificate.
tls_certificate = ""
tls_key = ""
tls_ca = ""

# One table a node. The name after the dot is the one that commands take: `vna inventory legacy`.
#
# [nodes.legacy]
# kind = "dimse"              # dimse | dicomweb | folder
# ae_title = "PACS_ARCHIVE"
# host = "127.0.0.1"
# port = 104
# tls_ca = ""                 # set: speak TLS to this node
# issuer = ""                 # default Issuer of Patient ID
# timezone = "Europe/Vienna"  # study dates are local times of the site
# acse_timeout_s = 30
# dimse_timeout_s = 120
# retrieve_timeout_s = 3600   # a nearline archive may need hours for one study
#
# [nodes.newpacs]
# kind = "dimse"
# ae_title = "NEW_PACS"
# host = "127.0.0.1"
# port = 104
# on_update = "manual"        # what it does with a corrected resend: overwrite | manual
"""


def config_text(url: str, ledger: str, *, endpoint_url: str = "") -> str:
    """Give the text of a new vna.toml for an archive at ``url`` with its ledger at ``ledger`` (an SQLAlchemy URL)."""
    options = f"{{ endpoint_url = {json.dumps(endpoint_url)} }}" if endpoint_url else "{}"
    spool = SPOOL if "://" in url else ""
    return _TEXT.format(url=json.dumps(url), ledger=json.dumps(ledger), options=options, spool=json.dumps(spool))
