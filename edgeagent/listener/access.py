"""Which devices may come in, and what they may publish and subscribe to (contract section 2; docs/devices.md).

A right is a topic filter of `[[mqtt.allow]]` in which `{user}` and `{client}` stand for the names of the device. A name
goes in only as one level: one with `/`, `+` or `#`, or with `$` at its start, gets no right from such a pattern. A
device that calls itself `edgeagent` gets none on our own topics either: only a pattern that is written with them at its
start gives that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from edgeagent.common.names import Glob
from edgeagent.config.tables import Mqtt
from edgeagent.listener.packets import Connect
from edgeagent.listener.reasons import Reason
from edgeagent.ports.event_topics import EventSubscription
from edgeagent.wire.topics import covers, filter_problem, is_reserved, matches, report_topic, source_from_topic

_USER, _CLIENT = "{user}", "{client}"
_NAMES = re.compile(r"(\{user\}|\{client\})")
# Topics of one connection about which is remembered whether it may publish on them.
_MAX_KNOWN = 64


class DeviceIdentity(msgspec.Struct, frozen=True):
    """What is known of a device that connects. `asks`: it may come in if its password is right.

    `user`: None without a name. `reason`: why it may not come in, else SUCCESS.
    """

    user: str | None
    reason: Reason = Reason.SUCCESS
    asks: bool = False


def admission(connect: Connect, *, is_local: bool, has_users: bool, certificate_user: str | None) -> DeviceIdentity:
    """Tell who a device is, and whether a password must be right for that.

    A verified certificate is enough, and its CN is the user whatever CONNECT says. Where there are no users, a name
    that CONNECT gives is worth nothing and counts as none.

    Args:
        connect: what the client says.
        is_local: it comes from this machine.
        has_users: there is a `users_file`.
        certificate_user: the CN of a certificate that was verified, None without one.
    """
    if certificate_user is not None:
        return DeviceIdentity(certificate_user)
    if connect.user is not None and has_users:
        return DeviceIdentity(connect.user, asks=True)
    if is_local:
        return DeviceIdentity(None)
    return DeviceIdentity(None, Reason.NOT_AUTHORIZED)


class _Right(msgspec.Struct, frozen=True):
    """A filter that somebody may use. `reaches_ours`: also on the topics of edgeagent itself."""

    topic_filter: str
    reaches_ours: bool


class Rights:
    """What one connection may do."""

    def __init__(self, publish: Sequence[_Right], subscribe: Sequence[str], *, by_tables: bool) -> None:
        """`publish`, `subscribe`: what it may use, the names filled in. `by_tables`: `[[mqtt.allow]]` says so."""
        self.by_tables = by_tables
        self._publish = publish
        self._subscribe = subscribe
        self._known: dict[str, bool] = {}

    def may_publish(self, topic: str) -> bool:
        """Whether it may publish on a topic, a will too."""
        known = self._known.get(topic)
        if known is None:
            ours = is_reserved(topic)
            known = any(
                (not ours or right.reaches_ours) and matches(right.topic_filter, topic) for right in self._publish
            )
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[topic] = known
        return known

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether it may subscribe to all of a filter."""
        return any(covers(wide, topic_filter) for wide in self._subscribe)


class _Allowed(msgspec.Struct, frozen=True):
    """A table `[[mqtt.allow]]`, compiled."""

    users: Sequence[Glob]
    publish: Sequence[str]
    subscribe: Sequence[str]


class Permissions:
    """The rights that the configuration gives."""

    def __init__(self, mqtt: Mqtt, relay_topic: str) -> None:
        """`relay_topic`: where reports go, with `{source}`."""
        self._tables = [
            _Allowed([Glob(user) for user in allow.users], allow.publish, allow.subscribe) for allow in mqtt.allow
        ]
        self._events = [subscription.topic for subscription in mqtt.events]
        self._own_reports = [*_own_reports(mqtt.events, relay_topic)]
        self._all_reports = [*_all_reports(mqtt.events, relay_topic)]

    def of(self, user: str | None, client_id: str) -> Rights:
        """What a client may do; `user`: None for one without a name."""
        if self._tables:
            mine = [table for table in self._tables if any(glob.matches(user or "") for glob in table.users)]
            publish = [pattern for table in mine for pattern in table.publish]
            subscribe = [pattern for table in mine for pattern in table.subscribe]
        else:
            publish, subscribe = self._events, self._all_reports if user is None else self._own_reports
        return Rights(
            [
                _Right(filled, is_reserved(pattern))
                for pattern in publish
                if (filled := _filled(pattern, user, client_id)) is not None
            ],
            [filled for pattern in subscribe if (filled := _filled(pattern, user, client_id)) is not None],
            by_tables=bool(self._tables),
        )


def _filled(pattern: str, user: str | None, client_id: str) -> str | None:
    """A pattern with the names in it; None where a name is missing, or could make more of it than one level."""
    names = {_USER: user, _CLIENT: client_id}
    filled = ""
    for part in _NAMES.split(pattern):
        if part not in names:
            filled += part
            continue
        name = names[part]
        if not name or name.startswith("$") or any(sign in name for sign in "+#/\0"):
            return None
        filled += name
    return filled


def _sources(events: Sequence[EventSubscription]) -> Iterator[str]:
    """What the sources of events look like: one for each subscription, with the wildcards that are in its topic."""
    for subscription in events:
        try:
            yield source_from_topic(subscription.source, subscription.topic)
        except IndexError:  # a level that only some topics have
            continue


def _all_reports(events: Sequence[EventSubscription], relay_topic: str) -> Iterator[str]:
    """Filters for the reports about all sources."""
    if relay_topic.endswith("/{source}"):
        yield report_topic(relay_topic, "#")
        return
    found = (report_topic(relay_topic, source) for source in _sources(events))
    yield from (each for each in found if filter_problem(each) is None)


def _own_reports(events: Sequence[EventSubscription], relay_topic: str) -> Iterator[str]:
    """Patterns for the reports about sources that have the name of the user or client where topics have a wildcard."""
    for source in _sources(events):
        if "+" not in source and "#" not in source:  # one source for all of these topics
            yield report_topic(relay_topic, source)
        for name in (_USER, _CLIENT):
            for position, sign in enumerate(source):
                if sign not in {"+", "#"}:
                    continue
                pattern = report_topic(relay_topic, source[:position] + name + source[position + 1 :])
                if filter_problem(pattern) is None:
                    yield pattern
