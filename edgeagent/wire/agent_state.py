"""The state of an agent as the world sees it: the retained message on `edgeagent/state/{agent}` (contract section 14).

Agents of earlier versions publish the bare word `online` or `offline`, which is read too. Whoever may publish on the
topic can write anything there: what is read has bounds, and texts for a person are cut.
"""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Final, Literal

import msgspec

from edgeagent.common.times import instant
from edgeagent.errors import MessageError
from edgeagent.wire.messages import cut, decoded

MAX_STATE_BYTES: Final = 16 << 10
# The reason in a last will. The broker gives no time with it, so `since` is when the lost connection was made.
CONNECTION_LOST: Final = "the connection was lost"
STOPPED: Final = "the agent was stopped"
_MAX_VERSION_CHARS = 64
_MAX_PENDING = 1 << 53
_MAX_HEADROOM_S = 100 * 365 * 86400
_MAX_TIME_CHARS = 64
_MAX_CONFIG_CHARS = 64

_WORDS: Final = (b"online", b"offline")

_Time = Annotated[str, msgspec.Meta(max_length=_MAX_TIME_CHARS)]


class AgentState(msgspec.Struct, frozen=True):
    """One agent's state. A member that is not known is None.

    `since`: when the agent connected, or stopped (see `CONNECTION_LOST`); RFC 3339, UTC. `oldest`: when the event of
    its oldest pending trigger was accepted. `headroom_s`: until its outbox is full; None while it does not grow.
    `reason`: why it is offline, or what keeps an online agent from accepting events or passing triggers on; empty:
    nothing is known to. `config`: names the configuration in force; earlier versions
    do not say it.
    """

    state: Literal["online", "offline"]
    version: Annotated[str, msgspec.Meta(max_length=_MAX_VERSION_CHARS)] = ""
    since: _Time | None = None
    pending: Annotated[int, msgspec.Meta(ge=0, le=_MAX_PENDING)] | None = None
    oldest: _Time | None = None
    headroom_s: Annotated[float, msgspec.Meta(ge=0, le=_MAX_HEADROOM_S)] | None = None
    reason: str = ""
    config: Annotated[str, msgspec.Meta(max_length=_MAX_CONFIG_CHARS)] | msgspec.UnsetType = msgspec.UNSET


def parse_agent_state(payload: bytes) -> AgentState:
    """Read an agent's state.

    Raises:
        MessageError: it is not one.
    """
    if payload in _WORDS:
        return AgentState("online" if payload == _WORDS[0] else "offline")
    state = decoded(AgentState, payload, "state", MAX_STATE_BYTES)
    for member, text in (("since", state.since), ("oldest", state.oldest)):
        try:
            if text is not None:
                instant(text).astimezone(UTC)
        except (
            ValueError,
            OverflowError,
        ) as exc:  # in the first or the last year, an offset may lead out of the calendar
            raise MessageError("state", member, "must be an RFC 3339 time") from exc
    return msgspec.structs.replace(state, reason=cut(state.reason))


def bounded_headroom_s(hours: float | None) -> int | None:
    """`headroom_s` for a time in hours, within the bounds of the message."""
    return None if hours is None else int(min(max(hours * 3600, 0), _MAX_HEADROOM_S))
