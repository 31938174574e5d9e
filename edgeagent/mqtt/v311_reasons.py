"""Errors for the owner: why a connection by `v311` failed or ended."""

from __future__ import annotations

from edgeagent.errors import Denied, Unavailable, UplinkError
from edgeagent.links.failures import connection_failure
from edgeagent.mqtt import reasons
from edgeagent.mqtt.handshake import Handshake
from edgeagent.mqtt.reason_codes import PROTOCOL_ERROR
from edgeagent.mqtt.v311_socket import GuardedSocket

# The reason codes that paho itself gives when it ends a connection.
_KEEP_ALIVE_TIMEOUT = 0x8D
_UNSUPPORTED_VERSION = 0x84


def connack_error(address: str, version: str, reason_code: int, said: str) -> UplinkError:
    """Why the broker refuses us."""
    if reason_code == _UNSUPPORTED_VERSION:
        return Denied(address, f"it does not speak MQTT {version}")
    return reasons.connack_refusal(address, reason_code, said)


def ending(
    handshake: Handshake, version: str, guard: GuardedSocket | None, reason_code: int, *, connecting: bool
) -> UplinkError:
    """Why the connection ended if the broker did not say; `connecting`: before it answered CONNECT."""
    address = handshake.address
    if guard is not None and guard.fault:
        return Unavailable(address, f"the broker sent {guard.fault}")
    if reason_code == PROTOCOL_ERROR:  # while connecting, paho also gives this for an unknown version
        malformed = Unavailable(address, "the broker sent a malformed packet")
        return connack_error(address, version, _UNSUPPORTED_VERSION, "") if connecting else malformed
    if reason_code == _KEEP_ALIVE_TIMEOUT:
        return Unavailable(address, "nothing came from the broker, not even an answer to a ping")
    if not connecting and guard is not None and guard.error is not None:
        return connection_failure(address, guard.error)
    return reasons.closed_by_broker(handshake, version, connecting=connecting)
