"""Checks of a connection to Google Pub/Sub: which keys it needs, and which have no meaning for it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeagent.config.addresses import is_pubsub
from edgeagent.config.tables import Broker, CloudConnection, Connection, Uplink
from edgeagent.errors import Problem
from edgeagent.wire import topics

# https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
_NAME = re.compile(r"[A-Za-z][-A-Za-z0-9._~+]{2,254}")
_NAME_FORM = "must begin with a letter and have 3 to 255 letters, digits, '-', '.', '_', '~' and '+'"
_OWN_KEYS = ("subscription", "credentials_file", "token_file", "answer_topic")
_OTHERS_KEYS = (
    *("username", "password_file", "cert_file", "key_file", "key_password_file"),
    *("insecure", "alpn", "proxy"),
)
_ANY_AGENT = "gw-1"


def pubsub_problems(table: str, connection: Connection) -> Iterator[Problem]:
    """What is wrong with a table's keys for `pubsub://`, or with its keys for that where the address is another."""
    addresses = connection.addresses
    if not any(map(is_pubsub, addresses)):
        found = [key for key in _OWN_KEYS if getattr(connection, key, "")]
        yield from (Problem(f"{table}.{key}", "is only for pubsub:// addresses") for key in found)
        return
    if len(addresses) > 1:
        yield Problem(f"{table}.urls", "a pubsub:// address stands alone: write it as url")
    if not isinstance(connection, CloudConnection):
        yield Problem(f"{table}.url", "devices cannot publish by pubsub://: it is for [uplink] and [broker]")
        return
    meaningless = [key for key in _OTHERS_KEYS if getattr(connection, key)]
    yield from (Problem(f"{table}.{key}", "has no meaning for pubsub://: take it out") for key in meaningless)
    if connection.version != "5":
        yield Problem(f"{table}.version", "has no meaning for pubsub://: take it out")
    if connection.credentials_file and connection.token_file:
        yield Problem(f"{table}.token_file", "and credentials_file exclude each other")
    if isinstance(connection, Broker):
        yield from _broker_problems(table, connection)
    elif isinstance(connection, Uplink):
        yield from _uplink_problems(table, connection)


def _broker_problems(table: str, broker: Broker) -> Iterator[Problem]:
    for key, what in (("subscription", "to take triggers from"), ("answer_topic", "for answers and statuses")):
        name = getattr(broker, key)
        if not name:
            yield Problem(f"{table}.{key}", f"is missing: with pubsub:// name the {key.replace('_', ' ')} {what}")
        elif not _NAME.fullmatch(name):
            yield Problem(f"{table}.{key}", _NAME_FORM)
    if broker.answer_topic and broker.url.endswith(f"/{broker.answer_topic}"):
        yield Problem(f"{table}.answer_topic", "is the topic of the triggers: answers need another one")


def _uplink_problems(table: str, uplink: Uplink) -> Iterator[Problem]:
    if uplink.qos != 1:
        yield Problem(f"{table}.qos", "must be 1 with pubsub://, which acknowledges what it has taken, once or more")
    if uplink.report:
        yield Problem(f"{table}.report", "must be false with pubsub://, which keeps no message for later subscribers")
    if uplink.settle == "engine" and not uplink.subscription:
        reason = 'is missing: with settle = "engine" answers come by a subscription of this gateway\'s own'
        yield Problem(f"{table}.subscription", reason)
    name = topics.with_agent(uplink.subscription, _ANY_AGENT)
    if name and not _NAME.fullmatch(name):
        yield Problem(f"{table}.subscription", _NAME_FORM)
    if uplink.response_topic != f"{topics.RESPONSE}/{{agent}}":
        reason = "must be the default with pubsub://: subscriptions are filtered by the agent that it names"
        yield Problem(f"{table}.response_topic", reason)
