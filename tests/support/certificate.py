"""Certificates that nobody has signed but themselves."""

import subprocess
from pathlib import Path

from tests.servers import binary


def self_signed(folder: Path, name: str) -> Path:
    """Make a certificate for a name.

    Returns:
        A file with the certificate and its key. Without openssl the test is skipped, in CI it fails.
    """
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    subprocess.run(
        [
            binary("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
            "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return both
