"""Certificates for tests of TLS, made by the openssl command: an authority, and what it signs."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.peers import skip_unless_ci


@dataclass(frozen=True, slots=True)
class Certificate:
    """A PEM certificate and its key."""

    certificate: str
    key: str


class Authority:
    """A certificate authority in ``folder``; skips the test where there is no openssl command."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        if shutil.which("openssl") is None:
            skip_unless_ci("needs the openssl command: apt-get install openssl")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._own = self._make(name)

    @property
    def certificate(self) -> str:
        """The path of the authority's own certificate."""
        return self._own.certificate

    def sign(self, name: str) -> Certificate:
        """Make a certificate of this authority."""
        return self._make(name, signed_by=self._own)

    def _make(self, name: str, signed_by: Certificate | None = None) -> Certificate:
        made = Certificate(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key"))
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        command += ["-subj", f"/CN={name}", "-keyout", made.key, "-out", made.certificate]
        if signed_by is not None:
            command += ["-CA", signed_by.certificate, "-CAkey", signed_by.key, "-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run(command, check=True, capture_output=True)
        return made
