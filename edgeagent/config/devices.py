"""What cannot be right in how devices' messages come in: `[[local.subscribe]]` and `[mqtt]` with its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeagent.config.addresses import ListenAddress, is_loopback, split_address, split_listener
from edgeagent.config.loops import listens_on
from edgeagent.config.tables import AgentConfig, Mqtt, MqttAllow
from edgeagent.errors import Problem
from edgeagent.ports.event_topics import EventSubscription
from edgeagent.wire import topics

# Each connection may hold one packet of the largest size.
_PACKET_BYTES = range(4 << 10, (16 << 20) + 1)
_CONNECTIONS = range(1, 10_000 + 1)
# Retained messages are in memory, and on disk.
_RETAINED = range(100_000 + 1)
_RETAINED_BYTES = range((64 << 20) + 1)
_QUEUED = range(1, 10_000 + 1)
# What a publication has beside its payload, at most, but for topics that nobody uses.
_HEAD_BYTES = 1 << 10
# What a filter may name, for the rights of a listener.
_NAMES = ("{user}", "{client}")


def subscription_problems(table: str, subscriptions: Sequence[EventSubscription]) -> Iterator[Problem]:
    """What is wrong in the subscriptions of `[local]` or `[mqtt]`."""
    for index, subscription in enumerate(subscriptions):
        path = f"{table}.subscribe[{index}]"
        if problem := topics.filter_problem(subscription.topic):
            yield Problem(f"{path}.topic", problem)
            continue
        if subscription.id and not subscription.id.startswith("body."):
            yield Problem(f"{path}.id", 'must be a path into the data, such as "body.seq"')
        elif subscription.id and subscription.data in {"text", "bytes"}:
            yield Problem(f"{path}.id", f'needs JSON to find the id in, but data = "{subscription.data}"')
        if subscription.nan == "null" and subscription.data != "json":
            yield Problem(f"{path}.nan", '"null" needs data = "json": only there NaN is looked for')
        for earlier in subscriptions[:index]:
            if topics.overlap(earlier.topic, subscription.topic):
                yield Problem(f"{path}.topic", f"overlaps with {earlier.topic!r}: one message would be two events")


def listener_problems(config: AgentConfig) -> Iterator[Problem]:
    """What is wrong in `[mqtt]`, alone and beside the other tables."""
    mqtt = config.mqtt
    if mqtt is None:
        return
    yield from _address_problems(config, mqtt)
    yield from _certificate_problems(mqtt)
    yield from _bound_problems(mqtt)
    yield from subscription_problems("mqtt", mqtt.subscribe)
    for index, allow in enumerate(mqtt.allow):
        yield from _allow_problems(f"mqtt.allow[{index}]", allow)


def listener_warnings(config: AgentConfig) -> Iterator[Problem]:
    """What is right in `[mqtt]`, and may still not be what was meant."""
    mqtt = config.mqtt
    if mqtt is None:
        return
    for path, address in listen_addresses(mqtt):
        if not address.is_tls and not is_loopback(address.host):
            yield Problem(path, "has no TLS: passwords and data cross the network as they are")
    if mqtt.max_packet < config.outbox.max_event_bytes + _HEAD_BYTES:
        reason = "is less than outbox.max_event_bytes and a topic: the largest events cannot come in by MQTT"
        yield Problem("mqtt.max_packet", reason)
    allowed = [pattern for allow in mqtt.allow for pattern in allow.publish]
    for subscription in mqtt.events if mqtt.allow else ():
        if not any(topics.overlap(_with_any_name(pattern), subscription.topic) for pattern in allowed):
            yield Problem("mqtt.allow", f"lets nobody publish on {subscription.topic}: no event can come in by it")


def _with_any_name(pattern: str) -> str:
    """A pattern as a filter that is as wide as any name in it can make it."""
    return "/".join("+" if any(name in level for name in _NAMES) else level for level in pattern.split("/"))


def listen_addresses(mqtt: Mqtt) -> Iterator[tuple[str, ListenAddress]]:
    """The listeners that can be read, each with its key's path."""
    for index, listen in enumerate(mqtt.listeners):
        path = "mqtt.listen" if isinstance(mqtt.listen, str) else f"mqtt.listen[{index}]"
        try:
            yield path, split_listener(listen)
        except ValueError:  # told elsewhere
            continue


def _address_problems(config: AgentConfig, mqtt: Mqtt) -> Iterator[Problem]:
    if not mqtt.listeners:
        yield Problem("mqtt.listen", "names no address: leave the table out for no listener")
    for index, listen in enumerate(mqtt.listeners):
        path = "mqtt.listen" if isinstance(mqtt.listen, str) else f"mqtt.listen[{index}]"
        try:
            split_listener(listen)
        except ValueError as exc:
            yield Problem(path, str(exc))
        if listen in mqtt.listeners[:index]:
            yield Problem(path, f"{listen} stands there twice")
    taken = _port_of(config.http.listen)
    for path, address in listen_addresses(mqtt):
        if address.port and address.port == taken:
            yield Problem(path, f"{address.port} is the port of http.listen")
        yield from _access_problems(path, address, mqtt)
        for table, connection in (("uplink", config.uplink), ("local", config.local)):
            if connection is not None and listens_on(connection, address.host, address.port):
                reason = f"is where {table}.url leads to: the agent would connect to itself, and nobody is behind it"
                yield Problem(path, reason)


def _access_problems(path: str, address: ListenAddress, mqtt: Mqtt) -> Iterator[Problem]:
    if address.is_tls and not mqtt.cert_file:
        yield Problem(path, "has TLS, which needs mqtt.cert_file and mqtt.key_file")
    if is_loopback(address.host) or mqtt.users_file or (address.is_tls and mqtt.ca_file):
        return
    remedy = "mqtt.users_file or mqtt.ca_file" if address.is_tls else "mqtt.users_file"
    yield Problem(path, f"{address.host} can be reached from other machines: set {remedy}")


def _port_of(listen: str) -> int:
    """The port of `http.listen`, 0 for none."""
    try:
        return split_address(listen)[1]
    except ValueError:  # told elsewhere, or there is none
        return 0


def _certificate_problems(mqtt: Mqtt) -> Iterator[Problem]:
    if bool(mqtt.cert_file) != bool(mqtt.key_file):
        yield Problem("mqtt.cert_file", "cert_file and key_file belong together")
    if mqtt.key_password_file and not mqtt.key_file:
        yield Problem("mqtt.key_password_file", "has no key_file to open")
    if any(address.is_tls for _, address in listen_addresses(mqtt)):
        return
    for key in ("cert_file", "ca_file"):
        if getattr(mqtt, key):
            yield Problem(f"mqtt.{key}", 'is for TLS, but no address in mqtt.listen begins with "tls://" or "wss://"')


def _bound_problems(mqtt: Mqtt) -> Iterator[Problem]:
    for key, bounds in (
        ("max_connections", _CONNECTIONS),
        ("max_packet", _PACKET_BYTES),
        ("max_retained", _RETAINED),
        ("retained_bytes", _RETAINED_BYTES),
        ("session_queue", _QUEUED),
    ):
        if int(getattr(mqtt, key)) not in bounds:
            yield Problem(f"mqtt.{key}", f"must be {bounds.start} to {bounds.stop - 1}")


def _allow_problems(path: str, allow: MqttAllow) -> Iterator[Problem]:
    if not allow.users:
        yield Problem(f"{path}.users", 'names nobody; write ["*"] for everybody')
    if not allow.publish and not allow.subscribe:
        yield Problem(f"{path}.publish", "names no topic, nor does subscribe: so it allows nothing")
    for key in ("publish", "subscribe"):
        for index, pattern in enumerate(getattr(allow, key)):
            plain = pattern
            for name in _NAMES:
                plain = plain.replace(name, "x")
            if problem := topics.filter_problem(plain):
                yield Problem(f"{path}.{key}[{index}]", problem)
            elif "{" in plain or "}" in plain:
                yield Problem(f"{path}.{key}[{index}]", "only {user} and {client} stand for something")
