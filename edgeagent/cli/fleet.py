"""`edgeagent fleet`: how are the gateways of a broker, by what they say of themselves?"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from edgeagent.cli.fleet_table import Fleet, Judged, TroubleKind, document, table
from edgeagent.cli.options import add_json, clear_screen, say, say_json, warn
from edgeagent.common.plural import counted
from edgeagent.common.units import Duration
from edgeagent.config import DISPATCHER_CONFIG, dispatcher_config_path, load_dispatcher
from edgeagent.config.addresses import is_amqp, is_pubsub
from edgeagent.config.tables import DispatcherConfig
from edgeagent.dispatcher.service import client_id
from edgeagent.errors import CommandFailed, UplinkError
from edgeagent.host import ending
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import Ack, Link, Message, Subscription
from edgeagent.wire.agent_state import MAX_STATE_BYTES
from edgeagent.wire.topics import STATES

# The broker sends what it retains right after the subscription, and does not say when that is all.
_QUIET_S = 1.5
_REFRESH_S = 2.0
_MAX_PACKET_BYTES = MAX_STATE_BYTES + (64 << 10)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "fleet",
        help="show the gateways of the dispatcher's broker, those in trouble first",
        description="Show what the gateways of the dispatcher's broker say of themselves, those in trouble first. Exit "
        "code 1 when a gateway is in trouble, or none is there.",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help=f"configuration (default: {DISPATCHER_CONFIG})")
    parser.add_argument("--watch", action="store_true", help="go on, and show each change, until Ctrl-C")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the gateways; returns 1 if one is in trouble or there is none.

    Raises:
        ConfigError: the configuration cannot be used.
        UplinkError: the broker cannot be reached, or refuses us.
        CommandFailed: it is not reached by MQTT, so it keeps no states.
    """
    logging.getLogger("edgeagent").addHandler(logging.NullHandler())  # what a log line would say is an error here
    config = load_dispatcher(dispatcher_config_path(args.config))
    address = config.broker.addresses[0]
    if is_amqp(address) or is_pubsub(address):
        protocol = "AMQP" if is_amqp(address) else "Pub/Sub"
        raise CommandFailed(
            f"over {protocol} a broker keeps no gateway's state: name it by mqtt:// in a file for this command"
        )
    return ending.run(lambda _: _show(config, as_json=args.json, watch=args.watch))


class _Listener:
    """The owner of the connection (`ports.link.LinkOwner`): it hands messages to the fleet.

    Attributes:
        error: why there is no connection now; None while there is one, or none was tried.
        news: set whenever something has come or changed.
        recalled: set when the connection changed, or the broker told something that it had retained.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.error: UplinkError | None = None
        self.is_up = False
        self.news = asyncio.Event()
        self.recalled = asyncio.Event()
        self._fleet = fleet
        self._link: Link | None = None

    def on_up(self, link: Link, *, session_present: bool) -> None:  # noqa: ARG002  there is no session
        """Connected and subscribed."""
        self._link, self.error, self.is_up = link, None, True
        self._changed(recalled=True)

    def on_down(self, error: UplinkError) -> None:
        """Not connected."""
        self._link, self.error, self.is_up = None, error, False
        self._changed(recalled=True)

    def on_messages(self, messages: Sequence[Message]) -> None:
        """What gateways say."""
        for message in messages:
            self._fleet.heard(message.topic, message.payload)
        if self._link is not None:
            self._link.acknowledge(messages)
        self._changed(recalled=any(message.retain for message in messages))

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Ignored: nothing is published."""

    def on_room(self) -> None:
        """Ignored: nothing is published."""

    def _changed(self, *, recalled: bool) -> None:
        self.news.set()
        if recalled:
            self.recalled.set()


async def _show(config: DispatcherConfig, *, as_json: bool, watch: bool) -> int:
    fleet = Fleet()
    listener = _Listener(fleet)
    broker = msgspec.structs.replace(config.broker, session_expiry=Duration(0))
    # An id of our own: with the dispatcher's, one of us would end the other's connection.
    own_id = f"{client_id(config, socket.gethostname())}-fleet-{secrets.token_hex(4)}"
    async with asyncio.TaskGroup() as group:
        session = group.create_task(
            keep_connected(
                broker,
                listener,
                client_id=own_id,
                subscriptions=[Subscription(STATES, retained=True)],
                max_packet_bytes=_MAX_PACKET_BYTES,
            )
        )
        try:
            await _until_quiet(listener, tries=len(broker.addresses))
            if listener.error is not None:
                raise listener.error
            if watch:
                await _watch(fleet, listener, as_json=as_json)
        except UplinkError as exc:
            error: UplinkError | None = exc
        else:
            error = None
        finally:
            session.cancel()
    if error is not None:
        raise error
    return _print(fleet, as_json=as_json)


async def _until_quiet(listener: _Listener, tries: int) -> None:
    """Wait until the broker has told what it retains, or none of its addresses takes us.

    What gateways say meanwhile is not waited for: in a large fleet there is always one that says something.
    """
    failures = 0
    while True:
        listener.recalled.clear()
        try:
            async with asyncio.timeout(_QUIET_S if listener.is_up else None):
                await listener.recalled.wait()
        except TimeoutError:
            return
        failures += listener.error is not None
        if failures >= tries:
            return


async def _watch(fleet: Fleet, listener: _Listener, *, as_json: bool) -> None:
    """Show the fleet again and again, until cancelled."""
    before: dict[str, Judged] = {}
    while True:
        listener.news.clear()
        found = fleet.judged(datetime.now(UTC))
        if as_json:
            for each in found:
                if document(each) != (document(before[each.gateway.agent]) if each.gateway.agent in before else None):
                    say_json(document(each))
            before = {each.gateway.agent: each for each in found}
        else:
            clear_screen()
            _print(fleet, as_json=False)
            say(f"-- {listener.error}, trying again --" if listener.error is not None else "--")
        await asyncio.sleep(_REFRESH_S)
        if as_json or not sys.stdout.isatty():  # ages are shown anew on a terminal only
            await listener.news.wait()


def _print(fleet: Fleet, *, as_json: bool) -> int:
    now = datetime.now(UTC)
    found = fleet.judged(now)
    troubled = sum(each.kind is not TroubleKind.NONE for each in found)
    if as_json:
        for each in found:
            say_json(document(each))
    elif found:
        for line in table(found, now):
            say(line)
        say(f"{counted(len(found), 'gateway')}, {troubled} in trouble")
    if fleet.left_out:
        warn(f"{counted(fleet.left_out, 'message')} left out: no gateway's name in the topic, or too many gateways")
    if not found:
        warn(f"no gateway is known at this broker; does its access list let the dispatcher's user read {STATES}?")
    return int(troubled > 0 or not found)
