"""The journal's native protocol: a record as fields that can be searched (systemd, "Native Journal Protocol").

A field is `NAME=value` and a newline. A value with newlines is written as the name, a newline, its length as 64 bits
little-endian, the value, and a newline. One datagram is one record.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import Final

from edgeagent.common.foreign import escaped

SOCKET: Final = "/run/systemd/journal/socket"
_LENGTH_BYTES = 8
_MAX_NAME_CHARS = 64  # journald ignores fields with longer names
_NO_NAME = re.compile("[^A-Z0-9_]")


def field_name(key: str) -> str:
    """The field of one of a record's values: `event` is `EDGEAGENT_EVENT`."""
    return ("EDGEAGENT_" + _NO_NAME.sub("_", key.upper()))[:_MAX_NAME_CHARS]


def datagram(priority: int, message: str, logger: str, values: Mapping[str, object], traceback: str = "") -> bytes:
    """A record for the journal. Its values become fields of their own; only the traceback may have several lines."""
    fields = {
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "edgeagent",
        "MESSAGE": message,
        "LOGGER": logger,
        **{field_name(key): escaped(str(value)) for key, value in values.items()},
    }
    if traceback:
        fields["TRACEBACK"] = traceback
    return b"".join(_field(name, text) for name, text in fields.items())


def _field(name: str, text: str) -> bytes:
    value = text.encode("utf-8", "backslashreplace")
    if b"\n" not in value:
        return b"%b=%b\n" % (name.encode("ascii"), value)
    return b"%b\n%b%b\n" % (name.encode("ascii"), len(value).to_bytes(_LENGTH_BYTES, "little"), value)


class Journal:
    """Sends records to the journal of this machine. Owns its socket."""

    def __init__(self) -> None:
        """Nothing is opened before the first record."""
        self._socket: socket.socket | None = None

    def send(self, record: bytes) -> bool:
        """Whether the journal has it; if not, write it to where the service's lines go, which the journal reads too.

        It is not when journald is away (it keeps lines of a service while it restarts, but no datagrams), when its
        queue is full, and when the record is larger than a datagram may be. Does not block.
        """
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.sendto(record, SOCKET)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket; the next record opens another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
