"""Why no TLS came about with a device, in words: pure."""

from __future__ import annotations

from typing import Final, NamedTuple


class TlsFailure(NamedTuple):
    """`reason`: as it is counted. `text`: what happened. `remedy`: what to do."""

    reason: str
    text: str
    remedy: str


PLAIN: Final = TlsFailure(
    "tls_not_spoken",
    "it does not speak TLS",
    "give the device an address that begins with tls:// or mqtts:// (wss:// for WebSocket), or connect it to a port "
    "without TLS",
)
UNTRUSTED: Final = TlsFailure(
    "tls_certificate_not_trusted",
    "the device does not trust the listener's certificate",
    "give the device the CA that signed mqtt.cert_file, let it connect to a name in the certificate, set its clock",
)
UNKNOWN_DEVICE: Final = TlsFailure(
    "tls_device_certificate_refused",
    "the device's certificate is not valid here",
    "have it signed by a CA in mqtt.ca_file, and renew it if it has ended",
)
INCOMPATIBLE: Final = TlsFailure(
    "tls_not_compatible",
    "it and the listener have no version of TLS and no cipher in common",
    "TLS 1.2 is the oldest version that is taken: update the device",
)
BROKEN_OFF: Final = TlsFailure(
    "tls_broken_off",
    "the connection ended before TLS was agreed on",
    "if it is a device, see its log: it may not trust the listener's certificate (mqtt.cert_file)",
)
SILENT: Final = TlsFailure(
    "tls_timed_out",
    "it did not begin TLS in time",
    "if it is a device, have it speak TLS, and see whether its line is too slow",
)

_ALERTS: Final = (
    "_ALERT_UNKNOWN_CA",
    "_ALERT_BAD_CERTIFICATE",
    "_ALERT_CERTIFICATE_",
    "_ALERT_UNSUPPORTED_CERTIFICATE",
)
_VERSIONS: Final = ("PROTOCOL", "NO_SHARED", "ALERT_HANDSHAKE_FAILURE", "VERSION_TOO_LOW", "NO_SUITABLE")
_NO_RECORDS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_", "BAD_RECORD_TYPE")


def tls_failure(reason: str | None, *, timed_out: bool) -> TlsFailure:
    """What a handshake's failure was.

    Args:
        reason: OpenSSL's word for it (`ssl.SSLError.reason`); None if it was not OpenSSL that failed.
        timed_out: it took too long.
    """
    if timed_out:
        return SILENT
    if reason is None:
        return BROKEN_OFF
    for words, failure in (
        (("CERTIFICATE_VERIFY_FAILED",), UNKNOWN_DEVICE),
        (_ALERTS, UNTRUSTED),
        (_NO_RECORDS, PLAIN),
        (_VERSIONS, INCOMPATIBLE),
    ):
        if any(word in reason for word in words):
            return failure
    return BROKEN_OFF._replace(text=f"TLS failed: {reason.lower().replace('_', ' ')}")
