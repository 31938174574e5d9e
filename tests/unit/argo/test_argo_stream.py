from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.argo.stream import WatchParser
from edgeagent.argo.wire import StreamItem
from edgeagent.errors import EngineUnavailable

URL = "https://argo.example:2746/api/v1/workflow-events/plant"


def line(name: str, kind: str = "MODIFIED") -> bytes:
    return msgspec.json.encode({"result": {"type": kind, "object": {"metadata": {"name": name}, "status": {}}}})


def names(items: list[StreamItem]) -> list[str]:
    """What the items tell, in short."""
    told = []
    for item in items:
        if item.error is not None:
            told.append(f"{item.error.http_code} {item.error.message}")
        elif item.result is not None:
            told.append(item.result.object.metadata.name)
    return told


def parsed(*parts: bytes) -> list[str]:
    parser = WatchParser(URL)
    told = names([item for part in parts for item in parser.feed(part)])
    parser.finish()
    return told


# As Argo writes it: a space before three line ends, comments to keep the connection alive, an error at the end.
ARGO = (
    b":\n"
    b"data: " + line("a") + b" \n\n\n:\n:\n"
    b"data: " + line("b\u00e4") + b" \n\n\n"
    b'data: {"error":{"grpc_code":8,"http_code":429,"message":"EOF","http_status":"Too Many Requests"}} \n\n\n'
)
TOLD = ["a", "bä", "429 EOF"]


def test_a_watch_as_argo_writes_it_is_understood_whole_and_byte_by_byte() -> None:
    assert parsed(ARGO) == TOLD
    assert parsed(*(ARGO[at : at + 1] for at in range(len(ARGO)))) == TOLD


@given(st.lists(st.integers(0, len(ARGO)), max_size=12))
def test_it_does_not_matter_where_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(ARGO)]
    assert parsed(*(ARGO[start:end] for start, end in pairwise(edges))) == TOLD


def test_an_item_is_told_as_soon_as_its_blank_line_is_there() -> None:
    parser = WatchParser(URL)
    assert names(list(parser.feed(b"data: " + line("a") + b" \n"))) == []
    assert names(list(parser.feed(b"\n"))) == ["a"]


def test_one_object_a_line_is_understood_too() -> None:
    body = line("a") + b"\n" + line("b") + b'\r\n{"error":{"http_code":400,"message":"too old"}}\n'
    assert parsed(body) == ["a", "b", "400 too old"]


def test_every_form_of_server_sent_events_is_understood() -> None:
    whole = line("a")
    cut = whole.index(b",") + 1
    body = b"event: message\r\nid: 7\r\ndata:" + whole[:cut] + b"\r\ndata: " + whole[cut:] + b"\r\n\r\nretry: 5\n\n"
    assert parsed(body) == ["a"]


def test_the_members_that_a_status_is_made_of_are_read() -> None:
    body = (
        b'data: {"result":{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"plant","labels":null},'
        b'"status":{"phase":"Running","progress":"1/2","startedAt":"2026-03-21T10:00:00Z","finishedAt":null,'
        b'"outputs":{"parameters":[{"name":"artifact-url","value":"s3://b/k"}]},"nodes":{"x":{}}}}}} \n\n\n'
    )
    [item] = WatchParser(URL).feed(body)
    assert item.result is not None
    status = item.result.object.status
    assert status is not None
    assert (status.phase, status.progress, status.started_at, status.finished_at) == (
        "Running",
        "1/2",
        "2026-03-21T10:00:00Z",
        None,
    )
    assert status.outputs is not None
    assert status.outputs.parameters is not None
    assert status.outputs.parameters[0].value == "s3://b/k"


@pytest.mark.parametrize(
    "body",
    [
        b"<!doctype html>\n",
        b"data: <html>\n\n",
        b"{\n",
        b"data: [" + b"[" * 100_000 + b"\n\n",
        b'data: {"result": {"type": 5}}\n\n',
        b"\xff\xfe\n",
        b'data: {"result": {"type": "\xff"}}\n\n',
    ],
)
def test_what_is_no_watch_is_no_silent_one(body: bytes) -> None:
    with pytest.raises(EngineUnavailable, match="the answer is not an Argo Server's"):
        list(WatchParser(URL).feed(body))


@pytest.mark.parametrize("rest", [b"data: " + line("b"), b"data: " + line("b") + b"\n", b"<html>", line("b")])
def test_a_body_that_ends_in_the_middle_of_an_item_is_told(rest: bytes) -> None:
    parser = WatchParser(URL)
    assert names(list(parser.feed(b"data: " + line("a") + b" \n\n\n" + rest))) == ["a"]
    with pytest.raises(EngineUnavailable, match="it ends in the middle of an item"):
        parser.finish()


@pytest.mark.parametrize("form", [b"data: %s\n\n", b"%s\n"])
def test_an_item_over_the_limit_is_refused_before_it_is_all_there(form: bytes) -> None:
    parser = WatchParser(URL, max_item_bytes=1000)
    assert names(list(parser.feed(form % line("a" * 800)))) == ["a" * 800]
    with pytest.raises(EngineUnavailable, match="more than 1000 bytes"):
        list(parser.feed((form % line("a" * 2000))[:1100]))


def test_an_item_of_many_short_lines_is_held_to_the_limit() -> None:
    parser = WatchParser(URL, max_item_bytes=1000)
    with pytest.raises(EngineUnavailable, match="more than 1000 bytes"):
        list(parser.feed(b"data:\n" * 1000))


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_items_or_told_to_be_none(parts: list[bytes]) -> None:
    parser = WatchParser(URL, max_item_bytes=100)
    with suppress(EngineUnavailable):
        for part in parts:
            assert all(isinstance(item, StreamItem) for item in parser.feed(part))
        parser.finish()
