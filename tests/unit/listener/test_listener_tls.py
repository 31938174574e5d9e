"""What is told of devices with which no TLS comes about."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import pytest

from edgeagent.listener import server
from edgeagent.listener.tls_failures import (
    BROKEN_OFF,
    INCOMPATIBLE,
    PLAIN,
    SILENT,
    UNKNOWN_DEVICE,
    UNTRUSTED,
    TlsFailure,
    tls_failure,
)
from tests.fakes.mosquitto import free_port
from tests.fakes.mqtt_bytes import connect
from tests.unit.listener.test_listener_server import V311, scene
from tests.unit.listener.test_listener_shares import encrypted, secure
from tests.waiting import until


@pytest.mark.parametrize(
    ("reason", "failure"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", UNTRUSTED),
        ("SSLV3_ALERT_BAD_CERTIFICATE", UNTRUSTED),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", UNTRUSTED),
        ("CERTIFICATE_VERIFY_FAILED", UNKNOWN_DEVICE),
        ("WRONG_VERSION_NUMBER", PLAIN),
        ("HTTP_REQUEST", PLAIN),
        ("UNSUPPORTED_PROTOCOL", INCOMPATIBLE),
        ("NO_SHARED_CIPHER", INCOMPATIBLE),
        (None, BROKEN_OFF),
    ],
)
def test_a_failure_is_told_by_what_openssl_says(reason: str | None, failure: TlsFailure) -> None:
    assert tls_failure(reason, timed_out=False) == failure
    assert tls_failure(reason, timed_out=True) == SILENT


def test_a_failure_of_another_kind_keeps_the_word_for_it() -> None:
    assert tls_failure("INTERNAL_ERROR", timed_out=False).text == "TLS failed: internal error"


async def test_each_failure_is_counted_by_its_reason_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    keys, context = encrypted(tmp_path, port)
    async with scene(tmp_path, **keys) as it:
        it.port = port
        plain = await it.stranger()
        await plain.says(connect(V311, "plain"))
        await plain.is_cut_off()
        with pytest.raises(ssl.SSLCertVerificationError):
            await secure(it, ssl.create_default_context(), port, "wrong")
        await until(lambda: it.listener.stats()["connects_refused"] == 2)
        assert it.listener.stats()["connects_refused_by"] == {"tls_not_spoken": 1, "tls_broken_off": 1}
        assert it.listener.figures.refusals == {"tls_not_spoken": 1, "tls_broken_off": 1}
        await secure(it, context, port, "good")
    told = [record for record in caplog.records if getattr(record, "event", "") == "mqtt_tls_failed"]
    assert [record.levelno for record in told] == [logging.WARNING] * 2
    assert told[0].getMessage() == (
        "no TLS with a device from this machine: it does not speak TLS; give the device an address that begins with "
        "tls:// or mqtts:// (wss:// for WebSocket), or connect it to a port without TLS"
    )
    assert all(record.__dict__["foreign"] for record in told), "a device cannot fill the log"


async def test_who_only_looks_whether_somebody_listens_is_no_device_that_was_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HANDSHAKE_S", 0.05)
    caplog.set_level(logging.INFO)
    port = free_port()
    keys, _ = encrypted(tmp_path, port)
    async with scene(tmp_path, **keys) as it:
        it.port = port
        (await it.stranger()).writer.close()
        await (await it.stranger()).is_cut_off()
        await until(lambda: caplog.text.count("no TLS with a device") == 2)
        assert it.listener.stats()["connects_refused"] == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
