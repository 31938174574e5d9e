from __future__ import annotations

import unittest.mock
from http import HTTPStatus

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeagent.httpapi import framing as framing_module
from edgeagent.httpapi.framing import Framing, Mark
from edgeagent.httpapi.plain import PlainRequest, plain_request
from edgeagent.httpapi.problem import Answer, answer_bytes
from edgeagent.httpapi.request import Request
from tests.profiles import examples

NAMES = [b"Host", b"host", b"Content-Type", b"Content-Length", b"Connection", b"Expect", b"Transfer-Encoding", b"x-1"]
VALUES = [
    b"localhost",
    b"application/json",
    b"1",
    b"2",
    b"3",
    b"01",
    b"close",
    b"keep-alive",
    b"100-continue",
    b"chunked",
]
# Bytes that parsers are known to disagree about, and some that they should agree about.
PIECES = [
    b"",
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b":",
    b",",
    b"\x7f",
    b"\x0b",
    b"\x85",
    b"\xa0",
    b"\xff",
    b"a",
    b"1",
]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Requests that are plain, nearly so, or broken."""
    method = draw(st.sampled_from([b"POST", b"POST", b"POST", b"post", b"GET"]))
    target = draw(st.sampled_from([b"/v1/events", b"/v1/events/a%2Fb?c=d", b"*", b"http://h/x", b"/\xff", b"/ a"]))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0", b"2.0"]))
    body = draw(st.binary(max_size=3))
    fields = [(b"Host", b"localhost"), (b"Content-Length", b"%d" % len(body))]
    fields += draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=2))
    head = method + b" " + target + b" HTTP/" + version + b"\r\n"
    head += b"".join(name + b": " + value + b"\r\n" for name, value in draw(st.permutations(fields)))
    data = head + b"\r\n" + body
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.sampled_from(PIECES)) + data[place + draw(st.integers(0, 1)) :]
    return data


def by_h11(data: bytes) -> PlainRequest:
    """The head and the body of a request that is all of `data`, and after which the connection is kept."""
    framing = Framing()
    framing.receive(data)
    with unittest.mock.patch.object(framing_module, "plain_request", return_value=None):
        head, body = framing.next_part(), b""
    assert isinstance(head, Request)
    assert not framing.wants_continue
    while isinstance(part := framing.next_part(), bytes | bytearray):
        body += part
    assert part is Mark.END
    _, is_last = framing.answer(Answer(200, b""))
    assert not is_last
    assert not framing.is_receiving
    return PlainRequest(head, body)


@pytest.mark.slow
@settings(max_examples=examples(1000))
@given(requests())
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n1")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 1\r\n\r\n1")
@example(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n1")
def test_a_request_taken_as_plain_is_what_h11_makes_of_it(data: bytes) -> None:
    plain = plain_request(data)
    assert plain is None or plain == by_h11(data)


@given(
    st.sampled_from(sorted({int(status) for status in HTTPStatus} - {100, 101, 102, 103, 205, 304})),
    st.binary(max_size=5),
    st.lists(st.sampled_from([(b"retry-after", b"5"), (b"allow", b"GET, HEAD"), (b"www-authenticate", b"Bearer")])),
    st.booleans(),
    st.booleans(),
)
def test_an_answer_is_written_as_h11_would_write_it(
    status: int, body: bytes, headers: list[tuple[bytes, bytes]], is_last: bool, is_head: bool
) -> None:
    body = b"" if status == HTTPStatus.NO_CONTENT else body
    machine = h11.Connection(h11.SERVER)
    machine.receive_data(b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % (b"HEAD" if is_head else b"GET"))
    machine.next_event()
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    fields = [*([] if status == HTTPStatus.NO_CONTENT else fields), *headers]
    fields += [(b"connection", b"close")] if is_last else []
    response = h11.Response(status_code=status, headers=fields, reason=HTTPStatus(status).phrase.encode())
    data = h11.Data(data=b"" if is_head else body)
    written = [machine.send(event) or b"" for event in (response, data, h11.EndOfMessage())]
    answer = Answer(status, body, b"text/plain", tuple(headers))
    assert answer_bytes(answer, has_body=not is_head, is_last=is_last) == b"".join(written)


def test_what_devices_usually_send_is_plain() -> None:
    head = b"POST /v1/events/s HTTP/1.1\r\nHost: localhost:8745\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
    assert plain_request(head + b"Content-Length: 3\r\n\r\n[1]") is not None
    assert plain_request(head + b"Connection: keep-alive\r\nContent-Length: 3\r\n\r\n[1]") is not None
    assert plain_request(head + b"Content-Length: 3\r\n\r\n[1") is None  # the rest is still to come
