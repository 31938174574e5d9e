"""One WebSocket connection that carries MQTT, as a machine (RFC 6455; MQTT 5, section 6): bytes in, bytes out.

Nothing is put together here: what a frame brings goes on as it comes, so that neither the length that a frame announces
nor the number of parts of a message takes any memory. The codecs of MQTT bound what is inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection, ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Request, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import ProtocolError

from edgeagent.common.browsers import is_known_host, is_own_origin
from edgeagent.common.foreign import shown
from edgeagent.listener.reasons import Reason

# Of the request that opens the connection.
_MOST_HEAD_BYTES: Final = 8 << 10
# So many frames belong to one turn of the loop, as with packets.
_MOST_FRAMES: Final = 128
_METHOD: Final = b"GET "
_END: Final = b"\r\n\r\n"
_PATHS: Final = frozenset({"/mqtt", "/"})
# The first one that the client offers counts; the second is what clients of MQTT 3.1 said.
_SUBPROTOCOLS: Final = ("mqtt", "mqttv3.1")
_BAD_REQUEST: Final = "400 Bad Request"
_FORBIDDEN: Final = "403 Forbidden"
_NOT_FOUND: Final = "404 Not Found"
_TOO_LARGE: Final = "431 Request Header Fields Too Large"


class WebSocketEnd(NamedTuple):
    """Nothing more comes of the client. `is_by_client`: it said so; else what it did is a fault.

    `is_refusal`: it was not let in to say CONNECT.
    """

    reason: Reason
    text: str
    is_by_client: bool = False
    is_refusal: bool = False


class Brought(NamedTuple):
    """What bytes from the socket came to: `answer` goes back at once, `payload` is bytes of MQTT."""

    answer: bytes = b""
    payload: bytes = b""
    ending: WebSocketEnd | None = None


class WebSocket:
    """The server's side of one connection.

    Args:
        names: by which clients may call this machine; None: by any, because a client has to say who it is.

    Attributes:
        has_more: frames may be here that were not looked at: nothing new is to be fed until `go_on` has taken them.
    """

    __slots__ = ("_closing", "_events", "_head", "_is_over", "_names", "_wire", "has_more")

    def __init__(self, names: frozenset[str] | None) -> None:
        self.has_more = False
        self._names = names
        self._wire: WSConnection | Connection = WSConnection(ConnectionType.SERVER)
        self._head: bytearray | None = bytearray()  # of the request, until the connection is open
        self._events: Iterator[Event] = iter(())
        self._closing = CloseConnection(CloseReason.NORMAL_CLOSURE)  # how we say that it is over
        self._is_over = False

    @property
    def waits(self) -> bool:
        """Whether we have said that it is over, and the client has still to say so."""
        return self._wire.state is ConnectionState.LOCAL_CLOSING and not self._is_over

    def feed(self, data: bytes) -> Brought:
        """These bytes came."""
        if self._is_over:
            return Brought()
        if self._head is not None:
            return self._open(self._head, data)
        self._wire.receive_data(data)
        self._events = self._wire.events()
        return self.go_on()

    def go_on(self) -> Brought:
        """The next of the frames that are here."""
        answer, payload, ending = bytearray(), bytearray(), None
        count = 0
        for count, event in enumerate(islice(self._events, _MOST_FRAMES), 1):  # noqa: B007  how many there were
            match event:
                case BytesMessage():
                    payload += event.data
                case Ping() if self._wire.state is ConnectionState.OPEN:
                    answer += self._wire.send(event.response())
                case TextMessage():
                    ending = self._fault(CloseReason.UNSUPPORTED_DATA, "a text frame, where MQTT is binary")
                    break
                case CloseConnection():
                    ending = self._ending(event)
                    break
        self.has_more = count == _MOST_FRAMES and ending is None
        return Brought(bytes(answer), bytes(payload), ending)

    def send(self, data: bytes) -> bytes:
        """What is to be written for these bytes of MQTT; nothing when the connection is not open."""
        return self._wire.send(BytesMessage(data)) if self._wire.state is ConnectionState.OPEN else b""

    def close(self) -> bytes:
        """What is to be written to end the connection, or to answer that the client ends it."""
        is_open = self._wire.state in {ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING}
        return self._wire.send(self._closing) if is_open else b""

    def _open(self, head: bytearray, data: bytes) -> Brought:
        searched = max(0, len(head) - len(_END))
        head += data
        if not (head.startswith(_METHOD) or _METHOD.startswith(head)):
            return self._refused(_BAD_REQUEST, "bytes that open no WebSocket")
        end = head.find(_END, searched) + len(_END)
        is_whole = end >= len(_END)
        if (end if is_whole else len(head)) > _MOST_HEAD_BYTES:
            return self._refused(_TOO_LARGE, f"a request of more than {_MOST_HEAD_BYTES} bytes to open a WebSocket")
        if not is_whole:
            return Brought()
        try:
            self._wire.receive_data(bytes(head[:end]))
            (request,) = self._wire.events()
            assert isinstance(request, Request)  # noqa: S101  a server is told of nothing else
            host = request.host.encode("idna")
        except ProtocolError as exc:
            return self._refused(_BAD_REQUEST, f"a request that opens no WebSocket ({shown(str(exc))})")
        except UnicodeError:
            return self._refused(_BAD_REQUEST, "a request with a header that is no text")
        return self._admit(request, host, bytes(head[end:]))

    def _admit(self, request: Request, host: bytes, rest: bytes) -> Brought:
        if request.target.partition("?")[0] not in _PATHS:
            return self._refused(_NOT_FOUND, f"{shown(request.target)} is no path of MQTT: take /mqtt")
        if self._names is not None and not is_known_host(host, self._names):
            text = f"{shown(request.host)} (Host) is not a known name of this machine, see http.hosts"
            return self._refused(_FORBIDDEN, text)
        for name, value in request.extra_headers:
            if name == b"origin" and not is_own_origin(value, host):
                text = f"pages of {shown(value.decode('latin-1'))} (Origin) may not connect to {shown(request.host)}"
                return self._refused(_FORBIDDEN, text)
        subprotocol = next((name for name in _SUBPROTOCOLS if name in request.subprotocols), None)
        if subprotocol is None:
            return self._refused(_BAD_REQUEST, 'a WebSocket without the subprotocol "mqtt"')
        wire = self._wire
        assert isinstance(wire, WSConnection)  # noqa: S101  it is opened once
        answer = wire.send(AcceptConnection(subprotocol))
        assert wire.connection is not None  # noqa: S101  the same
        self._head, self._wire = None, wire.connection  # what was for the opening is needed no more
        brought = self.feed(rest)
        return brought._replace(answer=answer + brought.answer)

    def _refused(self, status: str, text: str) -> Brought:
        self._is_over = True
        self._head = bytearray()
        body = f"edgeagent takes MQTT by WebSocket here: {text}\n".encode()
        head = (
            f"HTTP/1.1 {status}\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        reason = Reason.NOT_AUTHORIZED if status == _FORBIDDEN else Reason.PROTOCOL_ERROR
        return Brought(head.encode() + body, ending=WebSocketEnd(reason, text, is_refusal=True))

    def _ending(self, said: CloseConnection) -> WebSocketEnd:
        if self._wire.state in {ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED}:
            self._is_over = True
            self._closing = said.response()
            return WebSocketEnd(Reason.SUCCESS, "the device closed the WebSocket", is_by_client=True)
        return self._fault(said.code, f"a fault in the frames of the WebSocket ({said.reason})")

    def _fault(self, code: int, text: str) -> WebSocketEnd:
        self._is_over = True
        self._closing = CloseConnection(code, text)
        return WebSocketEnd(Reason.PROTOCOL_ERROR, text)
