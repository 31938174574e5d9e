"""The interface through which large data comes in: in parts, to the disk, without ever being in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from edgeagent.errors import EdgeAgentError
from edgeagent.events.artifact import Artifact


class Arrival(Protocol):
    """The data of one event while it comes in.

    Attributes:
        received_bytes: how much was written.
        is_congested: the disk is behind: nothing should be written until `wake` is called.
        error: why the data cannot be kept; None while it can. `wake` is called when it is set.
        kept_bytes: how much of data with a key survives whatever happens, as far as is known.
    """

    @property
    def received_bytes(self) -> int:
        """See the class."""

    @property
    def kept_bytes(self) -> int:
        """See the class."""

    @property
    def is_congested(self) -> bool:
        """See the class."""

    @property
    def error(self) -> EdgeAgentError | None:
        """See the class."""

    wake: Callable[[], None]

    def write(self, data: bytes | bytearray) -> None:
        """Add data; it does not wait for the disk.

        Raises:
            RecordTooLarge, SpoolFull: it is more than is taken, or than there is room for.
            EdgeAgentError: `error`.
        """

    async def finish(self, content_type: str) -> Artifact:
        """All of it came: returns when it is synced. The artifact is held until `LargeDataPort.let_go`.

        Raises:
            SpoolFull, StorageFailed: nothing is kept.
        """

    async def secure(self) -> None:
        """Return when all that was written survives a restart of the agent, and a power cut. Only for data with a key.

        Raises:
            EdgeAgentError: it does not: `error`.
        """

    def rest(self) -> None:
        """Like `secure`, without waiting: nothing more comes for now."""

    def back(self) -> None:
        """Go on after an `error`, with what survives."""

    def leave(self) -> None:
        """The rest may come when the agent has started again (`LargeDataPort.left`)."""

    def abandon(self) -> None:
        """The rest will not come: forget what did."""


class LeftArrival(NamedTuple):
    """Data that came in parts, not completely before the agent ended. `total`: the size that was announced."""

    key: str
    total: int
    arrival: Arrival


class LargeDataPort(Protocol):
    """Takes in the data of events with artifacts.

    Attributes:
        inline_bytes: data up to this size stays in its event.
    """

    @property
    def inline_bytes(self) -> int:
        """See the class."""

    def admit(self, size: int) -> None:
        """Whether data of this size would be taken now.

        Raises:
            RecordTooLarge, SpoolFull: it would not.
        """

    def begin(self, size: int | None, wake: Callable[[], None] = lambda: None, key: str = "") -> Arrival:
        """Data of this size comes in, of an unknown one if None. `wake` is called when the arrival has changed.

        `key`: 40 hexadecimal digits that name data which may come in parts, also after a restart of the agent.

        Raises:
            RecordTooLarge, SpoolFull: it is not taken, and nothing of it should be sent.
        """

    def left(self) -> Sequence[LeftArrival]:
        """What came before the agent was started. Whoever calls this, once, owns it."""

    def put_back(self, artifact: Artifact, key: str) -> None:
        """The event was not stored before the agent ends: its data is among those `left` after the next start."""

    def let_go(self, artifact: Artifact) -> None:
        """The outcome of storing the event is known: its data stays only if it was stored."""
