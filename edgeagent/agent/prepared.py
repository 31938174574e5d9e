"""An event between the decision about what to store of it and the moment when that is synced."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeagent.errors import MessageError
from edgeagent.events.event import Record
from edgeagent.rules.firing_decisions import FiringDecision


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An event on its way to the outbox.

    `rules`: those that make a trigger of it. `record`: None when nothing is to be stored. `key`: empty when the event
    has no id of its own. `undecided`: the rules whose filters cannot be decided for it, and why. `decision`: None when
    no rule with firing limits matched.
    """

    event_id: str
    source: str
    rules: tuple[str, ...]
    record: Record | None
    key: bytes
    digest: bytes
    high: bool
    duplicate: bool
    undecided: Sequence[tuple[str, MessageError]] = ()
    decision: FiringDecision | None = None
