"""Sockets that whoever started this process already listens on: which of them serves an address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from edgeagent.errors import ListenFailed


class Listening(Protocol):
    """What is looked at of a socket."""

    @property
    def family(self) -> int:
        """The address family."""

    def getsockname(self) -> Any:
        """Where it listens: host and port first, or a path."""


S = TypeVar("S", bound=Listening)


def take_passed(passed: list[S], family: int, address: Sequence[Any] | str) -> S | None:
    """Take the one that listens on exactly this address out of `passed`; None if there is none.

    `address`: as of `getsockname`, that is host and port first, or a path. Another address, such as a wider one, is not
    taken: what the configuration allows depends on where it listens.
    """
    wanted = address if isinstance(address, str) else tuple(address[:2])
    for place, sock in enumerate(passed):
        name = sock.getsockname()
        if sock.family == family and (name if isinstance(name, str) else name[:2]) == wanted:
            return passed.pop(place)
    return None


def refuse_left(passed: Sequence[Listening], name: str, key: str) -> None:
    """Refuse to start with sockets from which nobody would accept a connection.

    Raises:
        ListenFailed: there are some. `name`: theirs; `key`: where the configuration says what to listen on.
    """
    if passed:
        address = passed[0].getsockname()
        shown = address if isinstance(address, str) else "{}:{}".format(*address)
        reason = f"systemd passes this socket as {name}, but {key} does not name it"
        raise ListenFailed(
            shown, reason, f"make ListenStream= of the .socket unit and {key} the same, or disable the unit"
        )
