from __future__ import annotations

import ssl
import sys

import pytest

from edgeagent.config.tls_errors import is_tls_error


def test_errors_of_openssl_are_recognised_and_no_others() -> None:
    assert is_tls_error(ssl.SSLError(1, "wrong version number"))
    assert is_tls_error(ssl.SSLCertVerificationError(1, "self-signed certificate"))
    assert not is_tls_error(ConnectionResetError(104, "reset"))


def test_where_tls_is_not_loaded_there_is_no_such_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ssl")
    assert not is_tls_error(OSError(1, "anything"))
    assert "ssl" not in sys.modules
