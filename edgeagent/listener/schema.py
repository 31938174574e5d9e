"""The listener's tables, and how rows become messages and sessions (docs/format.md).

On disk the times are those of the calendar, in milliseconds. Where the calendar was set back or is not set yet, nothing
lives longer than it would have from now on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from edgeagent.listener.changes import StoredSession, WaitingParcels
from edgeagent.listener.packets import Publish
from edgeagent.listener.parcels import Kept, Parcel
from edgeagent.storage.database import Layout

_SCHEMA: Final = """
CREATE TABLE retained (topic TEXT PRIMARY KEY, message BLOB NOT NULL, expires_ms INTEGER) STRICT;
CREATE TABLE session (client_id TEXT PRIMARY KEY, session BLOB NOT NULL) STRICT;
CREATE TABLE waiting (
    client_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    message BLOB NOT NULL,
    expires_ms INTEGER,
    PRIMARY KEY (client_id, position)
) STRICT;
"""
LAYOUT: Final = Layout(
    version=1,
    schema=_SCHEMA,
    upgrades={},
    page_bytes=1024,  # small ones, since each commit writes every page that it touches
    name="the MQTT listener's database",
    event="mqtt_store",
    lost="retained messages and the sessions of devices are gone, until the devices publish and subscribe again",
    in_memory="retained messages and sessions are in memory until the agent stops, and those from before are not seen",
)

PUT_MESSAGE: Final = "INSERT OR REPLACE INTO retained VALUES (?, ?, ?)"
DROP_MESSAGE: Final = "DELETE FROM retained WHERE topic = ?"
DROP_OVER: Final = "DELETE FROM retained WHERE expires_ms <= ?"
PUT_SESSION: Final = "INSERT OR REPLACE INTO session VALUES (?, ?)"
DROP_SESSION: Final = "DELETE FROM session WHERE client_id = ?"
PUT_WAITING: Final = "INSERT INTO waiting VALUES (?, ?, ?, ?)"
DROP_WAITING: Final = "DELETE FROM waiting"

_Row = tuple[Any, ...]
T = TypeVar("T")


class _Parcel(msgspec.Struct, array_like=True):
    """A parcel on disk, but for its time."""

    publish: Publish
    qos: int
    retain: bool
    identifiers: tuple[int, ...]


class Times:
    """From the clock of the loop to that of the calendar and back, as both are at one moment."""

    def __init__(self, now: float, unix_s: float) -> None:
        self.now = now
        self._offset = unix_s - now

    def unix_ms(self, at: float | None) -> int | None:
        """When this is by the calendar."""
        return None if at is None else int((at + self._offset) * 1000)

    def at(self, unix_ms: int | None, longest_s: int | None) -> float | None:
        """When this is by the clock of the loop, `longest_s` from now at the most."""
        if unix_ms is None or longest_s is None:
            return None
        return min(unix_ms / 1000 - self._offset, self.now + longest_s)

    def is_over(self, at: float | None) -> bool:
        """Whether that has come."""
        return at is not None and at <= self.now


def message_row(message: Kept, times: Times) -> _Row:
    """The values of `PUT_MESSAGE`."""
    publish, expires_at = message
    return publish.topic, msgspec.msgpack.encode(publish), times.unix_ms(expires_at)


def session_row(session: StoredSession) -> _Row:
    """The values of `PUT_SESSION`."""
    return session.client_id, msgspec.msgpack.encode(session)


def waiting_rows(waiting: WaitingParcels, times: Times) -> Iterator[_Row]:
    """The values of `PUT_WAITING` for what waits in a session."""
    for position, parcel in enumerate(waiting.messages):
        kept = _Parcel(parcel.publish, parcel.qos, parcel.retain, parcel.identifiers)
        yield waiting.client_id, position, msgspec.msgpack.encode(kept), times.unix_ms(parcel.expires_at)


def messages_in(rows: Iterable[_Row], times: Times, damaged: Callable[[str], None]) -> Iterator[Kept]:
    """The retained messages of `SELECT topic, message, expires_ms`, but for those whose time is over."""
    for topic, data, expires_ms in rows:
        publish = _read(data, Publish, f"the retained message of {topic!a}", damaged)
        if publish is not None:
            message = Kept(publish, times.at(expires_ms, publish.expiry_s))
            if not times.is_over(message.expires_at):
                yield message


def sessions_in(rows: Iterable[_Row], damaged: Callable[[str], None]) -> Iterator[StoredSession]:
    """The sessions of `SELECT client_id, session`."""
    for client_id, data in rows:
        session = _read(data, StoredSession, f"the session of {client_id!a}", damaged)
        if session is not None:
            yield session


def waiting_in(rows: Iterable[_Row], times: Times, damaged: Callable[[str], None]) -> Iterator[WaitingParcels]:
    """What waits, of `SELECT client_id, message, expires_ms` in order, but for what is over."""
    found: dict[str, list[Parcel]] = {}
    for client_id, data, expires_ms in rows:
        parcel = _read(data, _Parcel, f"a message for {client_id!a}", damaged)
        if parcel is None:
            continue
        expires_at = times.at(expires_ms, parcel.publish.expiry_s)
        if not times.is_over(expires_at):
            message = Parcel(parcel.publish, parcel.qos, parcel.retain, parcel.identifiers, expires_at)
            found.setdefault(client_id, []).append(message)
    yield from (WaitingParcels(client_id, tuple(messages)) for client_id, messages in found.items())


def _read(data: bytes, kind: type[T], what: str, damaged: Callable[[str], None]) -> T | None:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError:
        damaged(what)
        return None
