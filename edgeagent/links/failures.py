"""Errors for the owner: foreign exceptions as why a connection failed."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from edgeagent.config.tls_errors import is_tls_error
from edgeagent.errors import Denied, Unavailable

if TYPE_CHECKING:
    import ssl

# The words of TLS when the other side does not accept our certificate.
_CERTIFICATE_ALERTS = (
    "certificate required",
    "bad certificate",
    "unsupported certificate",
    "certificate revoked",
    "certificate expired",
    "certificate unknown",
    "unknown ca",
    "access denied",
    "handshake failure",
)


def connection_failure(address: str, exc: BaseException) -> Unavailable | Denied:
    """Translate an exception of a resolver, a socket or TLS."""
    if is_tls_error(exc):
        return _tls_failure(address, exc)
    if isinstance(exc, socket.gaierror):
        return Unavailable(address, f"the name cannot be resolved ({exc.strerror})")
    if isinstance(exc, OSError) and exc.errno is not None:
        return Unavailable(address, f"the connection failed ({os.strerror(exc.errno)})")
    return Unavailable(address, f"the connection failed ({exc})")


def _tls_failure(address: str, exc: ssl.SSLError) -> Unavailable | Denied:
    if (untrusted := getattr(exc, "verify_message", None)) is not None:  # of an `SSLCertVerificationError`
        return Denied(address, f"its certificate is not trusted ({untrusted}); check the name in url, and ca_file")
    reason = (exc.reason or str(exc)).replace("_", " ").lower()
    if reason.endswith(_CERTIFICATE_ALERTS):
        return Denied(address, f"the TLS handshake failed ({reason}); check cert_file and key_file")
    return Unavailable(address, f"TLS failed ({reason}); does this port speak TLS?")
