"""An event between the decision what to store of it and the moment in which that is synced."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeagent.errors import MessageError
from edgeagent.events.event import Record
from edgeagent.rules.firing_decisions import FiringDecision


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An event on its way to the outbox.

    `rules`: those of which it has a trigger. `record`: None when nothing is to be stored. `key`: empty when the event
    has no id of its own to be recognised by. `undecided`: the rules whose filters cannot be decided on it, and why.
    `decision`: None when no rule that goes by its last firing was asked.
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
