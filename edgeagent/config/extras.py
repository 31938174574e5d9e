"""Libraries that only some configurations need, and that may be missing on this machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from edgeagent.config.addresses import is_amqp, is_pubsub
from edgeagent.config.devices import listen_addresses
from edgeagent.config.tables import AgentConfig, ArtifactsTable, Connection, DispatcherConfig, TracingTable
from edgeagent.errors import Problem

_HTTPX = "httpx"
# Debian's packages of edgeagent have every library but this one.
_HTTPX_PACKAGE = "; with Debian's packages: apt install edgeagent-httpx"


def missing_for_agent(config: AgentConfig) -> Iterator[Problem]:
    """What an agent's configuration asks for and cannot be had without another library."""
    for path, address in listen_addresses(config.mqtt) if config.mqtt is not None else ():
        if address.is_websocket:
            yield from _needed("wsproto", path, "WebSocket needs the extra: pip install 'edgeagent[websocket]'")
    yield from _missing_for_broker("uplink", config.uplink)
    if config.relay.webhook:
        yield from _needed_for_webhooks("relay.webhook")
    if config.artifacts is not None:
        yield from _needed_for_store(config.artifacts)
    yield from _needed_for_tracing(config.tracing)


def missing_for_dispatcher(config: DispatcherConfig) -> Iterator[Problem]:
    """What a dispatcher's configuration asks for and cannot be had without another library."""
    yield from _missing_for_broker("broker", config.broker)
    if config.engine.kind == "argo":
        text = f"\"argo\" needs the extra: pip install 'edgeagent[dispatch]'{_HTTPX_PACKAGE}"
        yield from _needed(_HTTPX, "engine.kind", text)
    if config.webhook:
        yield from _needed_for_webhooks("webhook")
    yield from _needed_for_tracing(config.tracing)


def _missing_for_broker(table: str, connection: Connection) -> Iterator[Problem]:
    path = f"{table}.url"
    if any(map(is_amqp, connection.addresses)):
        yield from _needed("pamqp", path, "AMQP needs the extra: pip install 'edgeagent[amqp]'")
    if any(map(is_pubsub, connection.addresses)):
        text = f"Pub/Sub needs the extra: pip install 'edgeagent[pubsub]'{_HTTPX_PACKAGE}"
        yield from _needed(_HTTPX, path, text)


def _needed_for_webhooks(path: str) -> Iterator[Problem]:
    yield from _needed(_HTTPX, path, f"needs the extra: pip install 'edgeagent[webhook]'{_HTTPX_PACKAGE}")


def _needed_for_tracing(table: TracingTable | None) -> Iterator[Problem]:
    if table is not None:
        text = f"needs the extra: pip install 'edgeagent[otel]'{_HTTPX_PACKAGE}"
        yield from _needed(_HTTPX, "tracing.endpoint", text)


def _needed_for_store(table: ArtifactsTable) -> Iterator[Problem]:
    scheme = table.store.partition("://")[0]
    if scheme == "az":
        text = "a store by az:// needs the extra: pip install 'edgeagent[azure]'"
        yield from _needed("obstore", "artifacts.store", text)
    elif scheme != "file":
        text = f"a store by {scheme}:// needs the extra: pip install 'edgeagent[artifacts]'{_HTTPX_PACKAGE}"
        yield from _needed(_HTTPX, "artifacts.store", text)


def _needed(library: str, path: str, text: str) -> Iterator[Problem]:
    if importlib.util.find_spec(library) is None:
        yield Problem(path, text)
