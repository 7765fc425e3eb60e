"""A certificate authority of the tests' own, which no client trusts by itself."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

SECURE_HOST = "registry.test"
"""A name that resolves nowhere by itself."""
SECURE_ADDRESS = "0.0.0.0"
"""The loopback interface too, by an address whose certificates docker verifies.

It believes all of 127.0.0.0/8, also when a name leads there.
"""
NAMES = (SECURE_HOST, "localhost", "127.0.0.1")
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True)
class Authority:
    """An authority, and the certificates of its server.

    Attributes:
        file: the authority's own certificate, as in docker's `ca.crt`.
        bundle: the same after all that the system trusts, as in `SSL_CERT_FILE`.
        certificate: the server's, with all that leads to the authority.
        key: the server's.
    """

    file: Path
    bundle: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return what makes a client trust this authority and no other."""
        return ssl.create_default_context(cafile=str(self.file))


def make_authority(folder: Path, *names: str) -> Authority:
    """Make an authority whose server has these names or, without any, the usual ones."""
    import trustme  # noqa: PLC0415  # the environment is made before there are any packages

    root = trustme.CA()
    server = root.issue_cert(*(names or NAMES))
    made = Authority(*(folder / name for name in ("ca.pem", "bundle.pem", "server.pem", "key.pem")))
    root.cert_pem.write_to_path(str(made.file))
    made.bundle.write_bytes(_system_bundle() + b"\n" + root.cert_pem.bytes())
    made.certificate.write_bytes(b"".join(part.bytes() for part in server.cert_chain_pems))
    server.private_key_pem.write_to_path(str(made.key))
    return made


def _system_bundle() -> bytes:
    named = os.environ.get("SSL_CERT_FILE")
    candidates = (Path(name) for name in ((named, *SYSTEM_BUNDLES) if named else SYSTEM_BUNDLES))
    found = next((path for path in candidates if path.is_file()), None)
    return found.read_bytes() if found else b""
