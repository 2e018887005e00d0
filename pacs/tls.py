"""TLS for both ends: who shows a certificate, and who vouches for the other side."""

import ssl
from pathlib import Path

from hilum.errors import HilumError


def server_tls(certificate: Path, authorities: Path | None) -> ssl.SSLContext:
    """TLS for those who connect, who must show a certificate where `authorities` are given.

    Args:
        certificate: PEM file of a certificate, its key, and what leads to its authority.
        authorities: PEM file.

    Raises:
        HilumError: one of them cannot be used.
    """
    context = _context(ssl.Purpose.CLIENT_AUTH, certificate, authorities)
    context.verify_mode = ssl.CERT_REQUIRED if authorities else ssl.CERT_NONE
    return context


def client_tls(certificate: Path | None, authorities: Path | None) -> ssl.SSLContext:
    """TLS towards a receiver whose certificate must name its host.

    Args:
        certificate: as of `server_tls`; shown where it is asked for.
        authorities: PEM file of those who vouch for the receiver; the system's where None.

    Raises:
        HilumError: one of them cannot be used.
    """
    return _context(ssl.Purpose.SERVER_AUTH, certificate, authorities)


def _context(purpose: ssl.Purpose, certificate: Path | None, authorities: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=authorities)
    except OSError as error:  # also of what the file holds
        raise _cannot_be_used(authorities, error) from error
    try:
        if certificate:
            context.load_cert_chain(certificate)
    except OSError as error:
        raise _cannot_be_used(certificate, error) from error
    return context


def _cannot_be_used(path: Path | None, error: OSError) -> HilumError:
    reason = "no certificate with its key, in PEM" if isinstance(error, ssl.SSLError) else error.strerror
    return HilumError(f"{path}: cannot be used for TLS: {reason}")
