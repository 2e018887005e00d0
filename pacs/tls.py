"""TLS for both ends: who shows a certificate, and who vouches for the other side."""

import ssl
from pathlib import Path

from hilum.errors import HilumError


def tls_context(certificate: Path | None, authorities: Path | None, *, server: bool) -> ssl.SSLContext:
    """TLS of this end.

    Args:
        certificate: PEM file of a certificate, its key, and what leads to its authority; none is shown where None.
        authorities: PEM file of those who vouch for the other side. Where None, a server asks nobody for a certificate,
            and a client trusts the system's.
        server: whether others connect; else the other side's certificate must name its host.

    Raises:
        HilumError: one of the files cannot be used.
    """
    path = authorities
    try:
        purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
        context = ssl.create_default_context(purpose, cafile=path)
        if server and authorities:
            context.verify_mode = ssl.CERT_REQUIRED
        if path := certificate:
            context.load_cert_chain(path)
    except OSError as error:  # also of what a file holds
        reason = "no certificate with its key, in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise HilumError(f"{path}: cannot be used for TLS: {reason}") from error
    return context
