"""The ways from a device to a subscriber upstream: the agent's, with and without a local broker, and the bridge's."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.events import group, open_store
from benchmarks.load import SOURCE, TOPIC, event
from benchmarks.load_processes import Agent, Broker, Load, Program
from edgeagent.events.event import Record
from edgeagent.wire import topics
from tests.fakes.mosquitto import free_port

WINDOW = 100
_WARM_UP_EVENTS = 1_000
_RULE = "overheat"
_POLL_S = 0.02
_SILENCE_S = 15.0

# The local broker is the same in both ways. Its database is saved each second, which is the nearest to durable at
# which a bridge is still fast; with autosave_on_changes it does 1,400 to 2,900 events/s.
_LOCAL = ("autosave_interval 1", "max_inflight_messages 100")
_UPSTREAM = ("max_inflight_messages 1000",)
_BRIDGE_PROTOCOL = "mqttv50"  # the bridge is as fast over 3.1.1
_SUBSCRIPTION = 'topic = "sensors/+/data"\nsource = "{1}"\n'
# The parameter is how the subscriber knows which event a trigger stands for.
_RULES = f"""
[[rule]]
name = "{_RULE}"
source = "boiler-*"
namespace = "plant"
template = "inspect"
track = {{track}}
arguments = {{{{ n = "body.n" }}}}
filters.data = [{{{{ path = "body.temp", type = "number", comparator = ">=", value = ["90"] }}}}]
"""


class Way(NamedTuple):
    """One way, ready. `edge` is what is compared; `local` is what the devices are connected to, perhaps the same.

    `topic_filter` is what `counter` subscribes to at the broker `above`.
    """

    edge: Program
    local: Program
    above: Broker
    topic_filter: str
    device: Load
    counter: Load


def agent_config(
    upstream: Broker,
    *,
    local_port: int | None = None,
    mqtt_port: int | None = None,
    listen: str = "",
    track: bool = False,
) -> str:
    """The tables of the agent's configuration. `local_port`: of a broker; `mqtt_port`, `listen`: of its listeners."""
    mqtt = ""
    for table, key, url, port in (
        ("local", "url", "mqtt://127.0.0.1", local_port),
        ("mqtt", "listen", "127.0.0.1", mqtt_port),
    ):
        if port is not None:
            mqtt += f'[{table}]\n{key} = "{url}:{port}"\n[[{table}.subscribe]]\n{_SUBSCRIPTION}'
    return (
        f'[uplink]\nurl = "mqtt://127.0.0.1:{upstream.port}"\nsettle = "broker"\nmax_inflight = {WINDOW}\n'
        f'trigger_topic = "{topics.TRIGGER}"\n'
        f'[outbox]\nmax_bytes = "8GiB"\n[http]\nlisten = "{listen}"\n' + mqtt + _RULES.format(track=str(track).lower())
    )


@contextlib.contextmanager
def upstream(directory: Path, topic_filter: str = topics.TRIGGER) -> Iterator[tuple[Broker, Load]]:
    """The broker upstream, and who counts what arrives there."""
    with (
        Broker(directory / "upstream", *_UPSTREAM) as broker,
        Load("load_counter", broker.port, topic_filter) as counter,
    ):
        yield broker, counter


@contextlib.contextmanager
def through_listener(directory: Path, *, track: bool = False) -> Iterator[Way]:
    """Device, agent, broker upstream, subscriber; warmed up. `track`: the ledger keeps what becomes of each trigger."""
    port = free_port()
    with (
        upstream(directory) as (above, counter),
        Agent(directory, agent_config(above, mqtt_port=port, track=track), links=1) as agent,
        Load("load_device", "--connect", port) as device,
    ):
        _warm_up(device, counter)
        yield Way(agent, agent, above, topics.TRIGGER, device, counter)


@contextlib.contextmanager
def through_agent(directory: Path) -> Iterator[Way]:
    """Device, local broker, agent, broker upstream, subscriber; warmed up."""
    with upstream(directory) as (above, counter), Broker(directory / "local", *_LOCAL) as local:
        config = agent_config(above, local_port=local.port)
        with (
            Agent(directory, config, links=2) as agent,
            Load("load_device", "--connect", local.port) as device,
        ):
            _warm_up(device, counter)
            yield Way(agent, local, above, topics.TRIGGER, device, counter)


@contextlib.contextmanager
def through_bridge(directory: Path) -> Iterator[Way]:
    """Device, local broker with a bridge, broker upstream, subscriber; warmed up."""
    with (
        upstream(directory, TOPIC) as (above, counter),
        bridged(directory, above) as local,
        Load("load_device", "--connect", local.port) as device,
    ):
        _warm_up(device, counter)
        yield Way(local, local, above, TOPIC, device, counter)


def bridged(directory: Path, above: Broker) -> Broker:
    """A local broker with a bridge to the one upstream."""
    return Broker(
        directory / "local",
        *_LOCAL,
        "connection upstream",
        f"address 127.0.0.1:{above.port}",
        "topic # out 1",
        "cleansession false",
        "notifications false",
        f"bridge_protocol_version {_BRIDGE_PROTOCOL}",
        "restart_timeout 1",
    )


def counted(counter: Load, expected: int, *, silence_s: float = _SILENCE_S, **request: Any) -> dict[str, Any]:
    """The count when so many events came, or when nothing new came for a while."""
    distinct, since_s = 0, time.monotonic()
    while True:
        count = counter.ask(**request)
        if count["distinct"] >= expected or time.monotonic() - since_s > silence_s:
            return count
        if count["distinct"] != distinct:
            distinct, since_s = count["distinct"], time.monotonic()
        time.sleep(_POLL_S)


def all_counted(counter: Load, expected: int, **request: Any) -> dict[str, Any]:
    """The count when so many events came; the measurement ends without them."""
    count = counted(counter, expected, **request)
    if count["distinct"] < expected:
        sys.exit(f"only {count['distinct']} of {expected} events arrived upstream")
    return count


def make_backlog(state: Path, events: int) -> None:
    """An outbox in which so many events of `benchmarks.load` are pending."""
    store = open_store(state / "outbox")
    batch, now_ms = 1000, time.time_ns() // 1_000_000
    for first in range(0, events, batch):
        records = [
            Record(
                "gw-042",
                SOURCE,
                f"{number:032x}",
                "event",
                "2026-03-20T11:00:00Z",
                event(number),
                True,
                (_RULE,),
                now_ms,
                1,
                topic=TOPIC,
            )
            for number in range(first, min(first + batch, events))
        ]
        outcome = store.append([group(records)])[0]
        if not isinstance(outcome, int):
            raise outcome
    store.close()


def _warm_up(device: Load, counter: Load) -> None:
    counter.ask(expect=_WARM_UP_EVENTS)
    device.ask(count=_WARM_UP_EVENTS, window=WINDOW)
    all_counted(counter, _WARM_UP_EVENTS)
