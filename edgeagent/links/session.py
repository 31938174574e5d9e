"""Keeps an owner connected to a broker: it connects, subscribes, and reconnects whenever the connection ends."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.config.addresses import is_amqp, is_loopback, is_pubsub, split_broker_url
from edgeagent.config.checks import MAX_EVENT_BYTES_LIMIT
from edgeagent.config.tables import Connection
from edgeagent.errors import Unavailable, UplinkError
from edgeagent.links.chance import fraction
from edgeagent.links.drain import SessionDrain
from edgeagent.links.driver import Dialer, LinkDriver
from edgeagent.links.engines import engine_of, has_tls
from edgeagent.links.failures import connection_failure
from edgeagent.links.reconnecting import Reconnecting, ReconnectTimes
from edgeagent.links.request import LinkRequest
from edgeagent.links.rotation import Rotation
from edgeagent.links.subscribed import SubscribedTopics
from edgeagent.ports.link import PREFETCH, Ack, Link, LinkOwner, Message, Subscription, Will

if TYPE_CHECKING:
    import ssl

# A thousand gateways that lost one broker in the same second come back over five seconds and more (docs/operations.md).
# A broker on this machine has no such crowd, and is back within a second or two when it restarts.
BACKOFF_BASE_S = 5.0
BACKOFF_BASE_LOOPBACK_S = 1.0
BACKOFF_CAP_S = 60.0
# A connection that breaks sooner is as bad as none: a broker that drops us at once must not be tried every second.
STABLE_S = 30.0
# Otherwise two clients with one id would end each other's connections every second, for ever.
TAKEN_OVER_S = 60.0
# How often certificate files are checked for changes while connected.
CHECK_S = 60.0
# The largest event that can be configured, and 64 KiB each for topic, properties and the rest of the packet.
MAX_PACKET_BYTES = MAX_EVENT_BYTES_LIMIT + (256 << 10)
# How long a broker may take to close its side after our DISCONNECT.
CLOSE_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


class _Ending(msgspec.Struct, frozen=True):
    """How one attempt ended: the error, how long it was connected (0: never), and what ended it."""

    error: UplinkError
    up_s: float = 0.0
    taken_over: bool = False
    rotated: bool = False


class _Watched(msgspec.Struct, frozen=True):
    """What is watched while a connection is up.

    `reported`: the sentences about what the broker lacks that are in the log already. `check_s`: how often certificate
    files are checked.
    """

    drain: SessionDrain
    rotation: Rotation
    subscribed: SubscribedTopics | None
    reported: set[str]
    check_s: float


class _NoOwner:
    """The owner of a trial connection: it has no subscriptions, and publishes nothing."""

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """Ignored: the session closes it."""

    def on_down(self, error: UplinkError) -> None:
        """Ignored: the session judges it."""

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Ignored: nothing is subscribed to."""

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Ignored: nothing is published."""

    def on_room(self) -> None:
        """Ignored: nothing is published."""


async def keep_connected(
    connection: Connection,
    owner: LinkOwner,
    *,
    client_id: str,
    subscriptions: Sequence[Subscription] = (),
    will: Will | Callable[[], Will] | None = None,
    drain: SessionDrain | None = None,
    rotation: Rotation | None = None,
    exactly_once: bool = False,
    answers_first: bool = False,
    needs_acks: bool = False,
    prefetch: int = PREFETCH,
    mark: str = "",
    subscribed: SubscribedTopics | None = None,
    max_packet_bytes: int = MAX_PACKET_BYTES,
    first_wait_s: float = 0.0,
    base_s: float | None = None,
    cap_s: float = BACKOFF_CAP_S,
    stable_s: float = STABLE_S,
    taken_over_s: float = TAKEN_OVER_S,
    check_s: float = CHECK_S,
) -> NoReturn:
    """Keep `owner` connected to a broker until cancelled.

    Each attempt takes the next of `connection.addresses` and reads password and certificates from their files. After
    each ending or failure `owner.on_down` says why. The next attempt follows after a random wait of up to `base_s`,
    which doubles up to `cap_s`, and starts again at `base_s` once a connection lasted `stable_s`. If another client
    took the session, the wait is at least `taken_over_s`; if the broker believes a connection by our name to be open,
    see `reconnecting`. On cancellation it disconnects gracefully (the broker discards the will), and no longer calls
    the owner. The broker keeps the session, unless `drain` emptied it.

    A broker that refuses our will because it keeps no retained messages, or takes only QoS 0, is asked again at once
    without them; what it lacks is logged once (`mqtt.negotiation`).

    Certificates that change while connected are tried on a second connection, with a client id and a session of its own
    and neither subscriptions nor a will. Only if the broker accepts it is the first connection ended, and the next
    attempt made at once.

    Args:
        connection: the configured keys; its `client_id` is not used.
        owner: the owner to call.
        client_id: the id to connect with, `{agent}` replaced.
        subscriptions: made on every connect and confirmed before `owner.on_up`.
        will: what the broker publishes if the connection ends without a DISCONNECT; or what makes it, called before
            each attempt. Only its payload may differ from one to the next.
        drain: the owner's means to give up the subscriptions and the session.
        rotation: the certificates to use, for an owner that needs to know until when they are valid.
        exactly_once: the owner publishes at QoS 2. The first connection then starts clean, so that packet ids of an
            earlier process are free; later ones continue what was not completed (`Link.carried`).
        answers_first: the owner acknowledges a message only after the broker has acknowledged a publication of its own,
            the answer. So reading goes on however many messages are held, while publications are unacknowledged: their
            acknowledgements come after the messages.
        needs_acks: a broker that takes only QoS 0 is refused.
        prefetch: how many unacknowledged messages the broker may send (AMQP; over MQTT always `PREFETCH`).
        mark: our name, for the user property `MARK` of every publication.
        subscribed: the subscriptions that the session may still have from before; unwanted ones are given up.
        max_packet_bytes: the largest packet to receive; the broker discards larger ones.
        first_wait_s: how long to wait before the very first attempt (`common.backoff.boot_spread`).
        base_s: the longest first wait after an ending; by default 5 s, and 1 s if the broker is on this machine.
        cap_s: the longest wait.
        stable_s: how long a connection must last to count as good.
        taken_over_s: the shortest wait after another client took the session.
        check_s: how often certificate files are checked while connected.
    """
    engine = engine_of(connection)
    engine.announce(connection)
    drain, rotation = drain or SessionDrain(), rotation or Rotation(connection)
    if base_s is None:
        base_s = _backoff_base_s(connection)
    if first_wait_s:
        extra = {"event": "mqtt_first_wait", "wait_s": first_wait_s}
        _log.info(
            "first attempt to connect in %.1f s, because this machine has just started", first_wait_s, extra=extra
        )
        await asyncio.sleep(first_wait_s)
    addresses = itertools.cycle(connection.addresses)
    dialer, reported = engine.dialer(connection, exactly_once=exactly_once), set[str]()
    times = ReconnectTimes(base_s, cap_s, stable_s, taken_over_s, max(1, int(connection.keepalive)))
    reconnecting, loop = Reconnecting(times), asyncio.get_running_loop()
    while True:
        address = next(addresses)
        wanted = () if drain.begun else tuple(subscriptions)
        filters = [subscription.topic_filter for subscription in wanted]
        request = LinkRequest(
            address=address,
            client_id=client_id,
            keepalive_s=max(1, int(connection.keepalive)),
            session_expiry_s=int(connection.session_expiry),
            max_packet_bytes=max_packet_bytes,
            username=connection.username or None,
            will=will() if callable(will) else will,
            subscriptions=wanted,
            answers_first=answers_first,
            unwanted=await subscribed.begin(address, client_id, filters) if subscribed is not None else (),
            mark=mark,
            needs_acks=needs_acks,
            prefetch=prefetch,
        )
        watched = _Watched(drain, rotation, subscribed, reported, check_s)
        ending = await _connect_once(connection, request, owner, dialer, watched)
        if terms := dialer.ended():
            extra = {"event": "mqtt_other_terms", "address": address}
            _log.info("%s; trying again with %s", ending.error, terms, extra=extra)
            continue
        owner.on_down(reconnecting.judged(ending.error, loop.time()))
        if ending.rotated:
            continue
        wait_s = reconnecting.wait_s(ending.up_s, taken_over=ending.taken_over, fraction=fraction())
        failures = reconnecting.failures
        extra = {"event": "mqtt_reconnect_wait", "address": address, "wait_s": wait_s, "failures": failures}
        _log.debug("next attempt to connect after a wait", extra=extra)
        await asyncio.sleep(wait_s)


def _backoff_base_s(connection: Connection) -> float:
    hosts = [split_broker_url(address)[1] for address in connection.addresses]
    return BACKOFF_BASE_LOOPBACK_S if all(map(is_loopback, hosts)) else BACKOFF_BASE_S


async def _connect_once(
    connection: Connection, request: LinkRequest, owner: LinkOwner, dialer: Dialer, watched: _Watched
) -> _Ending:
    """Make one connection or attempt, from beginning to end."""
    loop = asyncio.get_running_loop()
    link: LinkDriver | None = None
    drain, rotation = watched.drain, watched.rotation
    try:
        async with asyncio.timeout(connection.connect_timeout):
            context = (await rotation.choose(request.address)).context if has_tls(request.address) else None
            link = await _open(connection, dialer, request, owner, context)
            drain.follow(link)
            failed = await link.up
        if failed is not None:
            rotation.failed(failed)
            return _Ending(failed)
        rotation.worked()
        since_s = loop.time()
        _log_lacks(link, request, watched.reported)
        if watched.subscribed is not None and request.unwanted:
            await _await_unsubscribed(link, request, watched.subscribed)
        if (
            has_tls(request.address)
            and rotation.has_files
            and await _rotated(link, connection, request, rotation, watched.check_s)
        ):
            text = "the certificates were changed, connecting again with the new ones"
            return _Ending(Unavailable(request.address, text), rotated=True)
        error = await link.ended
        return _Ending(error, loop.time() - since_s, link.taken_over)
    except (UplinkError, OSError, UnicodeError) as exc:
        failure = _failure(connection, request.address, exc, "" if link is None else link.awaited)
        rotation.failed(failure)
        return _Ending(failure)
    finally:
        drain.follow(None)
        if link is not None:
            await _shut(link)


def _log_lacks(link: LinkDriver, request: LinkRequest, reported: set[str]) -> None:
    """Log what the broker lacks, each sentence once."""
    for sentence in link.abilities.lacks():
        if sentence not in reported:
            reported.add(sentence)
            extra = {"event": "mqtt_broker_lacks", "address": request.address}
            guessed = " (so it seems: it ended connections over them)" if link.abilities.guessed else ""
            # Over another protocol than MQTT it was known before, and `check` says it.
            level = logging.INFO if is_amqp(request.address) or is_pubsub(request.address) else logging.WARNING
            _log.log(level, "%s: %s%s", request.address, sentence, guessed, extra=extra)


async def _await_unsubscribed(link: LinkDriver, request: LinkRequest, subscribed: SubscribedTopics) -> None:
    """Wait for the answer to the UNSUBSCRIBE that was sent with the connection."""
    either: set[asyncio.Future[Any]] = {link.unwanted_unsubscribed, link.ended}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not link.unwanted_unsubscribed.done():
        return
    extra = {"event": "mqtt_unsubscribed", "address": request.address, "topic_filters": list(request.unwanted)}
    filters = ", ".join(map(shown, request.unwanted))
    if link.unwanted_unsubscribed.result():
        _log.info("%s: no longer subscribed to %s", request.address, filters, extra=extra)
        wanted = [subscription.topic_filter for subscription in request.subscriptions]
        await subscribed.unsubscribed(request.address, request.client_id, wanted)
    else:
        _log.warning("%s: it refuses to unsubscribe from %s", request.address, filters, extra=extra)


def _failure(connection: Connection, address: str, exc: Exception, awaited: str = "") -> UplinkError:
    """Translate an exception of an attempt to connect. `awaited`: see `LinkDriver`."""
    if isinstance(exc, UplinkError):
        return exc
    if isinstance(exc, TimeoutError) and exc.errno is None:  # otherwise it is the network's, before ours
        waited_for = f": the broker has not answered ({awaited})" if awaited else ""
        return Unavailable(
            address, f"no connection within {connection.connect_timeout:g} s (connect_timeout){waited_for}"
        )
    if isinstance(exc, ConnectionResetError):  # never from V5Link: only a TLS handshake can end so
        return Unavailable(address, "it closed the connection during the TLS handshake; does this port speak TLS?")
    return connection_failure(address, exc)  # UnicodeError: the host is not a name, such as "a..b"


async def _rotated(
    link: LinkDriver, connection: Connection, request: LinkRequest, rotation: Rotation, check_s: float
) -> bool:
    """Watch the certificates until the connection ends (False), or until there are new ones that work (True)."""
    while not link.ended.done():
        await asyncio.wait({link.ended}, timeout=check_s)
        if link.ended.done():
            break
        rotation.warn_when_due(request.address)
        if not await rotation.changed():
            continue
        async with asyncio.TaskGroup() as group:
            trial = group.create_task(_try_new(connection, request, rotation))
            either: set[asyncio.Future[Any]] = {link.ended, trial}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            trial.cancel()  # no effect if it is done
        if link.ended.done() or trial.cancelled():
            break
        if (error := trial.result()) is None:
            return True
        rotation.refuse(error)
    return False


async def _try_new(connection: Connection, request: LinkRequest, rotation: Rotation) -> UplinkError | None:
    """Try the certificates on disk beside the present connection; None: the broker accepts them."""
    request = msgspec.structs.replace(
        request,
        client_id=f"{request.client_id}-trial-{os.urandom(4).hex()}",
        session_expiry_s=0,
        will=None,
        subscriptions=(),
        unwanted=(),
    )
    link: LinkDriver | None = None
    try:
        async with asyncio.timeout(connection.connect_timeout):
            identity = await rotation.load(request.address)
            dialer = engine_of(connection).dialer(connection, exactly_once=False)
            link = await _open(connection, dialer, request, _NoOwner(), identity.context)
            return await link.up
    except (UplinkError, OSError, UnicodeError) as exc:
        return _failure(connection, request.address, exc)
    finally:
        if link is not None:
            await _shut(link)


async def _open(
    connection: Connection,
    dialer: Dialer,
    request: LinkRequest,
    owner: LinkOwner,
    context: ssl.SSLContext | None,
) -> LinkDriver:
    """Begin to connect, with TLS if there is a context; the link's `up` says how that ended."""
    password = None
    if connection.password_file:
        from edgeagent.links.tls import read_secret  # noqa: PLC0415  only for those who use it

        password = await asyncio.to_thread(read_secret, request.address, "password_file", connection.password_file)
    return await dialer.dial(request, owner, context, password)


async def _shut(link: LinkDriver) -> None:
    """Disconnect if still connected, and wait until the socket is closed, by force if the broker takes too long."""
    try:
        link.close()
        await asyncio.wait({link.lost}, timeout=CLOSE_TIMEOUT_S)
    finally:
        if not link.lost.done():
            link.abort()
