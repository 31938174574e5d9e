"""Sessions by client id: which are connected, what waits in them, when they end (MQTT 5, 4.1).

A session belongs to the user who began it. Another user does not end the connection of one who is there, and never gets
what waits in a session of somebody else: it is ended, and a new one begun.

Sessions without a connection are bounded. When there are too many, the user who has most of them loses the one whose
connection ended first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from edgeagent.listener.flows import Inbound, Outbound
from edgeagent.listener.packets import NEVER_EXPIRES, ClientWill, Connect, Publish
from edgeagent.listener.queue import MAX_QUEUE_BYTES, Queue, Room


class Session:
    """What the listener knows of a client.

    Attributes:
        client_id: its name.
        user: the name of the user who began it, None without one.
        version: the protocol that it spoke last.
        expiry_s: how long it outlives its connection; `NEVER_EXPIRES` has no end.
        connection: what the owner of the connection gave; None while there is none.
        is_stored: whether it is on disk, or on its way there.
        is_over: it was ended, whoever still holds it.
        token: tells its packet ids from those of other sessions, those of the same client included.
        inbound, outbound: what of QoS 1 and 2 is under way, from one connection to the next.
        queue: what waits until there is a connection, or until the connection takes more.
        will: what is due if the connection ends abnormally.
        will_at: when the will of a connection that ended is due, None when none is.
        gone_at: when the connection ended, None while there is one.
    """

    __slots__ = (
        *(
            "client_id",
            "connection",
            "expiry_s",
            "gone_at",
            "inbound",
            "is_over",
            "is_stored",
            "outbound",
            "queue",
            "token",
        ),
        *("user", "version", "will", "will_at"),
    )

    def __init__(
        self, connect: Connect, client_id: str, user: str | None, queue: Queue, outbound: Outbound, token: str
    ) -> None:
        """A new session for the client that sent `connect`."""
        self.client_id = client_id
        self.token = token
        self.user = user
        self.version = connect.version
        self.expiry_s = connect.session_expiry_s
        self.connection: object | None = None
        self.is_over = self.is_stored = False
        self.inbound = Inbound()
        self.outbound = outbound
        self.queue = queue
        self.will: ClientWill | None = None
        self.will_at: float | None = None
        self.gone_at: float | None = None

    @property
    def outlives(self) -> bool:
        """Whether it goes on after the connection."""
        return self.expiry_s > 0

    @property
    def is_kept(self) -> bool:
        """Whether what its client sends again on the next connection is known again."""
        return self.expiry_s > 0 and not self.is_over and self.token != ""

    def ends_at(self) -> float | None:
        """When it ends unless its client comes back; None: it is connected, or has no end."""
        if self.gone_at is None or self.expiry_s == NEVER_EXPIRES:
            return None
        return self.gone_at + self.expiry_s


class Sessions:
    """All of them. Times are seconds of a clock that does not go back."""

    def __init__(self, max_waiting: int, queue_messages: int, room: Room | None = None) -> None:
        """`max_waiting`: how many may be without a connection; `queue_messages`: how many wait in one."""
        self.room = room or Room()
        self._max_waiting = max_waiting
        self._queue_messages = queue_messages
        self._sessions: dict[str, Session] = {}
        self._waiting: dict[str, Session] = {}  # those without a connection, the first to go first

    def limit(self, max_waiting: int, queue_messages: int) -> None:
        """From now on these bounds hold."""
        self._max_waiting, self._queue_messages = max_waiting, queue_messages
        for session in self._sessions.values():
            session.queue.max_messages = queue_messages

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    @property
    def waiting(self) -> int:
        """How many have no connection."""
        return len(self._waiting)

    def get(self, client_id: str) -> Session | None:
        """A client's session."""
        return self._sessions.get(client_id)

    def of(self, client_id: str) -> Session:
        """The session of a client that has one."""
        return self._sessions[client_id]

    def begin(self, connect: Connect, client_id: str, user: str | None, token: str = "") -> Session:
        """A new session. There must be none of this client. `token`: as no other session has it."""
        queue = Queue(self.room, self._queue_messages, MAX_QUEUE_BYTES)
        session = self._sessions[client_id] = Session(connect, client_id, user, queue, Outbound(self.room), token)
        return session

    def connected(self, session: Session, connect: Connect, connection: object) -> None:
        """Its client is connected."""
        session.version, session.expiry_s = connect.version, connect.session_expiry_s
        session.connection, session.will = connection, connect.will
        session.will_at = session.gone_at = None
        self._waiting.pop(session.client_id, None)

    def disconnected(self, session: Session, now: float) -> Session | None:
        """It goes on without a connection. Returns the one that has to end for it, if there are too many."""
        session.connection, session.gone_at = None, now
        self._waiting.pop(session.client_id, None)
        self._waiting[session.client_id] = session
        if len(self._waiting) <= self._max_waiting:
            return None
        users = Counter(waiting.user for waiting in self._waiting.values())
        (greedy, _), *_ = users.most_common(1)
        return next(waiting for waiting in self._waiting.values() if waiting.user == greedy)

    def end(self, session: Session) -> int:
        """Forget it. Returns how many messages waited in it."""
        del self._sessions[session.client_id]
        session.is_over = True
        self._waiting.pop(session.client_id, None)
        session.outbound.clear()
        return session.queue.clear()

    def ended(self, now: float) -> list[Session]:
        """Those whose time is over."""
        return [session for session in self._waiting.values() if (at := session.ends_at()) is not None and at <= now]

    def wills(self, now: float) -> list[Publish]:
        """The wills that are due; they are told once."""
        due = [session for session in self._waiting.values() if session.will_at is not None and session.will_at <= now]
        found = [session.will.message for session in due if session.will is not None]
        for session in due:
            session.will = session.will_at = None
        return found

    def due_at(self) -> float | None:
        """When the next session ends or the next will is due; None: nothing is to come."""
        times = [time for each in self._waiting.values() for time in (each.ends_at(), each.will_at) if time is not None]
        return min(times, default=None)
