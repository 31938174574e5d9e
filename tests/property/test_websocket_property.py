"""Whatever comes by a WebSocket, and however it is cut: the same bytes of MQTT come out, and nothing is raised."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.common.browsers import own_names
from edgeagent.listener.websocket import WebSocket
from tests.fakes.websocket_bytes import frame, upgrade

NAMES = own_names("127.0.0.1", ())
FRAMES = st.builds(
    frame,
    st.sampled_from([0x0, 0x2, 0x2, 0x2, 0x8, 0x9, 0xA, 0x1, 0x3]),
    st.binary(max_size=150),
    fin=st.booleans(),
    masked=st.sampled_from([True, True, True, True, False]),
    reserved=st.sampled_from([0, 0, 0, 0, 1]),
)
REQUESTS = st.builds(
    lambda request, place, byte: request[:place] + bytes((byte,)) + request[place + 1 :],
    st.sampled_from([upgrade(), upgrade(Origin="http://127.0.0.1:9001"), upgrade("/", "mqttv3.1, mqtt")]),
    st.integers(0, 250),
    st.integers(0, 255),
)
STREAMS = st.one_of(
    st.binary(max_size=100),
    REQUESTS,
    st.lists(FRAMES, max_size=8).map(lambda found: upgrade() + b"".join(found)),
    st.binary(max_size=100).map(lambda found: upgrade() + found),
)


def brought(data: bytes, size: int) -> tuple[bytes, bytes, bool]:
    """What is answered, what is handed on, and whether it ended, when the bytes come in pieces of `size`."""
    socket = WebSocket(NAMES)
    answer, payload, ended = b"", b"", False
    for start in range(0, len(data), size):
        found = [socket.feed(data[start : start + size])]
        while socket.has_more:
            found.append(socket.go_on())
        for each in found:
            assert not ended or each == (b"", b"", None)
            answer, payload, ended = answer + each.answer, payload + each.payload, ended or each.ending is not None
    return answer + socket.send(b"x") + socket.close(), payload, ended


@given(STREAMS, st.integers(1, 50))
def test_a_stream_brings_the_same_however_it_is_cut(data: bytes, size: int) -> None:
    whole, cut = brought(data, len(data) or 1), brought(data, size)
    assert whole[1:] == cut[1:]
    assert whole[2] or whole == cut
