"""Whether the outbox takes events, and if not, why: for `GET /readyz` and for the agent's state message."""

from __future__ import annotations

from edgeagent.errors import DeadLettersFull
from edgeagent.outbox.commit import Health


def refusal(health: Health) -> str:
    """Why no event can be stored now, or what is stored cannot leave; empty: neither."""
    if health.failure:
        return health.failure
    if health.dead.full:
        return str(DeadLettersFull(health.dead.full))
    return "" if health.accepting else "the outbox is full (outbox.max_bytes)"
