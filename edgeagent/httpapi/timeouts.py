"""How long a connection may take for its parts."""

from __future__ import annotations

import msgspec


class Timeouts(msgspec.Struct, frozen=True):
    """The time limits of a connection, in seconds.

    `request_s`: from a request's first byte to its last. `idle_s`: without a request. `write_s`: until the client has
    read an answer. `linger_s`: how long a client that is refused while it still sends may take to read the refusal.
    `silence_s`: how long nothing may be sent on a stream.
    """

    request_s: float = 30
    idle_s: float = 75
    write_s: float = 30
    linger_s: float = 2
    silence_s: float = 15
