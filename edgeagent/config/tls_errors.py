"""Recognises an error of TLS without loading TLS, which costs 4 MiB: only where it is loaded can there be one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    import ssl


def is_tls_error(exc: BaseException) -> TypeGuard[ssl.SSLError]:
    """Whether OpenSSL raised it: about a handshake, a certificate, a key."""
    tls = sys.modules.get("ssl")
    return tls is not None and isinstance(exc, tls.SSLError)
