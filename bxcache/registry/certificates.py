"""The trusted certificates: the system's, and docker's for one registry.

https://docs.docker.com/engine/security/certificates/
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

_FOLDERS = (Path("/etc/docker/certs.d"),)


def make_context(host: str, *, verify: bool) -> ssl.SSLContext:
    """The TLS context for a registry.

    Args:
        host: the registry, with its port if it has one.
        verify: whether to verify its certificate.
    """
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for folder in (base / host for base in (*_FOLDERS, Path.home() / ".docker" / "certs.d")):
        # Docker itself reports unreadable files.
        with suppress(OSError, ssl.SSLError):
            for file in sorted(folder.glob("*.crt")):
                context.load_verify_locations(file)
            for file in sorted(folder.glob("*.cert")):
                context.load_cert_chain(file, file.with_suffix(".key"))
    return context
