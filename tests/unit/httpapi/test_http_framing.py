from __future__ import annotations

import itertools

import pytest

from edgeagent.httpapi.framing import Framing, Malformed, Mark, Part
from edgeagent.httpapi.plain import PlainRequest
from edgeagent.httpapi.problem import Answer
from edgeagent.httpapi.request import MAX_HEAD_BYTES, Request

POST = b"POST /v1/events/s HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
MALFORMED = [  # a request that somebody on the way could read differently, the status and a part of the reason
    (CHUNKED + b"Content-Length: 3\r\n\r\n1\r\n1\r\n0\r\n\r\n", 400, "exclude each other"),
    (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1", 400, "exclude each other"),
    (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n0\r\n\r\n", 400, "not known in HTTP/1.0"),
    (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "must be chunked"),
    (CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n", 501, "must be chunked"),
    (b"GET / HTTP/1.1\nHost: localhost\n\n", 400, "end with CR LF"),
    (b"GET / HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n", 400, "end with CR LF"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\rContent-Length: 5\r\n\r\n", 400, "end with CR LF"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", 400, "must not go on in the next line"),
    (b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", 400, "must not go on in the next line"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\t\r\n\r\n", 400, "must not go on in the next line"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX : a\r\n\r\n", 400, "not a header"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\n: a\r\n\r\n", 400, "not a header"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", 400, "control character"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x1b[31m\r\n\r\n", 400, "control character"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "Host: comes more than once"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "Host: is missing"),
    (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n1", 400, "comes more than once"),
    (POST + b"Content-Length: 1, 1\r\n\r\n1", 400, "comes more than once"),
    (POST + b"Content-Length: +1\r\n\r\n1", 400, "number of bytes"),
    (POST + b"Content-Length: -1\r\n\r\n1", 400, "number of bytes"),
    (POST + b"Content-Length: 0x1\r\n\r\n1", 400, "number of bytes"),
    (POST + b"Content-Length: %b\r\n\r\n1" % (b"9" * 30), 400, "number of bytes"),
    (CHUNKED + b"\r\nzz\r\n", 400, "hexadecimal"),
    (CHUNKED + b"\r\n+1\r\n1\r\n0\r\n\r\n", 400, "hexadecimal"),
    (CHUNKED + b"\r\n0x1\r\n1\r\n0\r\n\r\n", 400, "hexadecimal"),
    (CHUNKED + b"\r\n%b\r\n" % (b"0" * 21), 400, "hexadecimal"),
    (CHUNKED + b"\r\n1;%b" % (b"x" * 70_000), 431, "more than"),
    (CHUNKED + b"\r\n1\n1\r\n0\r\n\r\n", 400, "hexadecimal"),
    (CHUNKED + b"\r\n1\r\n12\r\n0\r\n\r\n", 400, "where its size says"),
    (CHUNKED + b"\r\n0\r\n\n", 400, "last chunk"),
    (CHUNKED + b"\r\n" + b"1\r\n[\r\n" * 2100, 400, "more than 2000 of its chunks"),
    (CHUNKED + b"\r\n0\r\nX: y\n\n", 400, "last chunk"),
    (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505, "HTTP/1.1 and HTTP/1.0"),
    (b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "the first line"),
    (b"GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n", 400, "the first line"),
    (b"\x16\x03\x01\x02\x00\x01\x00", 400, "the first line"),
    (b"\r\n" * 9 + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "empty lines"),
    (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES, 431, "more than 16384 bytes"),
]


def parts(framing: Framing) -> list[Part]:
    """What has come of a request so far."""
    found: list[Part] = []
    while (part := framing.next_part()) is not Mark.NEED_DATA:
        found.append(part)
        if isinstance(part, Mark | PlainRequest):
            break
    return found


def refusal(chunks: list[bytes]) -> Malformed | None:
    """What a request that comes in these pieces is refused with."""
    framing = Framing()
    try:
        for chunk in chunks:
            framing.receive(chunk)
            parts(framing)
    except Malformed as exc:
        assert framing.is_incomplete, "the connection must end"
        return exc
    return None


@pytest.mark.parametrize(("data", "status", "reason"), MALFORMED)
def test_what_could_be_read_in_two_ways_is_malformed_and_ends_the_connection(
    data: bytes, status: int, reason: str
) -> None:
    pieces = [bytes([byte]) for byte in data] if len(data) < 1000 else [data[:99], data[99:]]
    for chunks in ([data], pieces):
        error = refusal(chunks)
        assert error is not None
        assert error.status == status
        assert reason in str(error)
        assert "b'" not in str(error)
        assert "bytearray" not in str(error)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.9\r\nHost: localhost\r\nX: \ta\tb \r\nY:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \xfcmlaut\r\n\r\n",
        POST + b"content-LENGTH:  3\t\r\n\r\n[1]",
        CHUNKED + b"\r\n3;name=value\r\n[1]\r\n0\r\n\r\n",
        CHUNKED + b"\r\n3\r\n[1]\r\n0\r\nTrailer: x\r\n\r\n",
    ],
)
def test_what_is_unusual_and_clear_is_understood_whole_and_byte_by_byte(data: bytes) -> None:
    assert refusal([data]) is None
    framing, found = Framing(), []
    for byte in data:
        framing.receive(bytes([byte]))
        found += parts(framing)
    assert isinstance(found[0], Request)
    assert found[-1] is Mark.END


def test_requests_behind_one_another_are_found_wherever_the_reads_end() -> None:
    requests = [
        POST + b"Content-Length: 3\r\n\r\n[1]",
        CHUNKED + b"\r\n1\r\n2\r\n0\r\n\r\n",
        b"\r\n" + POST + b"\r\n",
    ] * 2
    data = b"".join(requests)
    for size in (1, 2, 3, 7, 40, 100, len(data)):
        framing, heads = Framing(), 0
        for start in itertools.chain(range(0, len(data), size), [len(data)]):
            framing.receive(data[start : start + size])
            while found := parts(framing):
                heads += isinstance(found[0], Request | PlainRequest)
                if found[-1] is Mark.END or isinstance(found[-1], PlainRequest):
                    framing.answer(Answer(200, b""))
        assert heads == len(requests), size
        assert not framing.is_receiving


@pytest.mark.parametrize(
    ("data", "is_last"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, Close\r\nUpgrade: h2c\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (POST + b"Content-Length: 3\r\n\r\n[1", True),  # its rest would be taken for the next request
        (b"GET / HT", True),
    ],
)
def test_the_connection_goes_on_after_an_answer_only_where_http_lets_it(data: bytes, is_last: bool) -> None:
    framing = Framing()
    framing.receive(data)
    parts(framing)
    written, ends = framing.answer(Answer(200, b""))
    assert ends is is_last
    assert (b"\r\nconnection: close\r\n" in written) is is_last


def test_a_connection_that_ends_inside_a_head_or_a_body_is_malformed_and_between_them_is_closed() -> None:
    for data in (b"GET / HT", POST + b"Content-Length: 3\r\n\r\n[1", CHUNKED + b"\r\n3\r\n[1"):
        framing = Framing()
        framing.receive(data)
        framing.receive_eof()
        with pytest.raises(Malformed, match="ends before it is complete"):
            parts(framing)
    framing = Framing()
    framing.receive(b"\r\n")
    framing.receive_eof()
    assert parts(framing) == [Mark.CLOSED]
