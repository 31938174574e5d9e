"""Log lines for the operator about connections, and about triggers that do not go through."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from edgeagent.agent.inflight import TriggerInFlight
from edgeagent.common.elapsed import Instant, Since
from edgeagent.common.times import rfc3339
from edgeagent.errors import DeadLettersFull, Denied, OutboxError, UplinkError
from edgeagent.ports.link import PublishRefused

_log = logging.getLogger(__name__)


class ConnectionNotices:
    """Logs the ups and downs of a connection, each once and not at every attempt.

    Owns the last error and the time of the last change, for the statistics. Must never log the same error twice in a
    row.

    Attributes:
        connects: how often it came up since this was made.
    """

    def __init__(self, name: str, addresses: Sequence[str], consequence: str, now: Callable[[], Instant]) -> None:
        """`consequence`: what a lost connection means to the operator, in a few words. `now`: both clocks."""
        self._now = now
        self._since = Since(now())
        self.connects = 0
        self._connected = False
        self._error = ""
        self._logged: dict[str, str] = {}  # why there is none, by address
        self._name = name
        self._address = ", ".join(addresses)
        self._consequence = consequence
        self._listeners: list[Callable[[], None]] = []

    def listen(self, changed: Callable[[], None]) -> None:
        """Call `changed` when the connection is up, or down, or down for another reason."""
        self._listeners.append(changed)

    @property
    def is_up(self) -> bool:
        """Whether there is a connection."""
        return self._connected

    @property
    def error(self) -> str:
        """Why there is none; empty if there is one, or no attempt has ended yet."""
        return self._error

    @property
    def since_ms(self) -> int:
        """Since when it is up or down, by the clock as it is now (Unix milliseconds); at first, since this was made."""
        return self._since.wall_ms(self._now())

    def up(self) -> None:
        """Log that the connection is up."""
        self._since = Since(self._now())
        self._connected, self._error = True, ""
        self._logged.clear()
        self.connects += 1
        self._tell()
        _log.info("%s: connected to %s", self._name, self._address, extra={"event": "link_up", "link": self._name})

    def down(self, error: UplinkError) -> None:
        """Log that the connection ended, or that an attempt failed, unless that was logged already of this address."""
        is_known = str(error) == self._error
        if self._connected:
            self._since = Since(self._now())
        self._connected, self._error = False, str(error)
        if not is_known:
            self._tell()
        if self._logged.get(error.address) == error.reason:
            return
        self._logged[error.address] = error.reason
        _log.log(
            logging.ERROR if isinstance(error, Denied) else logging.WARNING,
            "%s: %s; %s",
            self._name,
            error,
            self._consequence,
            extra={"event": "link_down", "link": self._name},
        )

    def stats(self) -> dict[str, Any]:
        """Whether the connection is up, since when, and the last error, ready for JSON."""
        return {
            "address": self._address,
            "connected": self._connected,
            "since": rfc3339(self.since_ms),
            "error": self._error,
        }

    def _tell(self) -> None:
        for changed in self._listeners:
            changed()


def suspected(entry: TriggerInFlight, delay_s: float) -> None:
    """Log that connections seem to end because of this trigger."""
    _log.warning(
        "the connection ended again when only trigger %s was out: others go first, it is sent again in %.0f s",
        entry.correlation_id,
        delay_s,
        extra={"event": "trigger_suspected", "correlation_id": entry.correlation_id},
    )


def refused(entry: TriggerInFlight, error: PublishRefused, code: int, delay_s: float) -> None:
    """Log that the broker does not take a trigger now."""
    _log.warning(
        "%s; trigger %s is sent again in %.0f s",
        error,
        entry.correlation_id,
        delay_s,
        extra={"event": "publish_refused", "foreign": True, "correlation_id": entry.correlation_id, "code": code},
    )


def topic_learned(topic: str) -> None:
    """Log that the dispatcher binds this agent to its own topic."""
    _log.info(
        "the dispatcher asks for triggers on %s: they are published there from now on",
        topic,
        extra={"event": "trigger_topic_learned", "topic": topic},
    )


def topic_refused(entry: TriggerInFlight, error: PublishRefused, topic: str) -> None:
    """Log that the broker does not take triggers on the topic that was learned."""
    _log.warning(
        "%s on %s, where the dispatcher asks for this gateway's triggers: allow it in the broker's access list; "
        "meanwhile they go to %s again, and wait",
        error,
        entry.topic,
        topic,
        extra={"event": "trigger_topic_refused", "topic": entry.topic},
    )


def expired(entry: TriggerInFlight) -> None:
    """Log that a trigger is too old to be sent."""
    leased = entry.item
    _log.error(
        "trigger %s of %s expired: older than its ttl (log %s, seq %d)",
        entry.correlation_id,
        leased.record.source,
        leased.log,
        leased.seq,
        extra={"event": "trigger_expired", "correlation_id": entry.correlation_id, "seq": leased.seq},
    )


def buried(entry: TriggerInFlight, reason: str, code: int) -> None:
    """Log that a trigger has become a dead letter."""
    _log.error(
        "trigger %s of %s is a dead letter: %s (see `edgeagent dead ls`)",
        entry.correlation_id,
        entry.item.record.source,
        reason,
        extra={"event": "dead_letter", "correlation_id": entry.correlation_id, "rule": entry.item.rule, "code": code},
    )


def not_buried(entry: TriggerInFlight, error: OutboxError) -> None:
    """Log that a trigger cannot become a dead letter, because the disk refuses."""
    _log.warning(
        "trigger %s stays in the outbox, its dead letter cannot be written: %s",
        entry.correlation_id,
        error,
        extra={"event": "bury_failed", "correlation_id": entry.correlation_id},
    )


def no_place(entry: TriggerInFlight, reason: str, error: DeadLettersFull, *, loud: bool) -> None:
    """Log that a final trigger finds no place among the dead letters. `loud`: as an ERROR, somebody must act."""
    _log.log(
        logging.ERROR if loud else logging.INFO,
        "trigger %s of %s is final (%s), and parked: %s",
        entry.correlation_id,
        entry.item.record.source,
        reason,
        error,
        extra={"event": "dead_letters_full", "correlation_id": entry.correlation_id, "rule": entry.item.rule},
    )


def parked(entry: TriggerInFlight) -> None:
    """Log that a trigger is parked because it got no answer."""
    _log.warning(
        "trigger %s of %s is parked after %d tries: it is tried again from time to time until its ttl",
        entry.correlation_id,
        entry.item.record.source,
        entry.tries,
        extra={"event": "trigger_parked", "correlation_id": entry.correlation_id, "rule": entry.item.rule},
    )


def not_parked(error: OutboxError) -> None:
    """Log that a trigger cannot be parked, because the disk refuses."""
    _log.warning("a trigger cannot be parked: %s", error, extra={"event": "park_failed"})


def limited_unkept(error: OutboxError) -> None:
    """Log that triggers stay in front, because what holds them back cannot be kept."""
    _log.warning(
        "triggers that wait for the rate of their rule cannot be moved, trying again: %s",
        error,
        extra={"event": "limited_unkept"},
    )


def limited_unreadable(error: OutboxError) -> None:
    """Log that triggers wait although they might go, because the disk does not give them."""
    _log.warning(
        "triggers that wait for the rate of their rule cannot be read, trying again: %s",
        error,
        extra={"event": "limited_unreadable"},
    )
