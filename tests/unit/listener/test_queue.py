from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.listener.flows import Sent
from edgeagent.listener.packets import Connect, Publish
from edgeagent.listener.parcels import OVERHEAD_BYTES, Parcel
from edgeagent.listener.queue import Queue, Room
from edgeagent.listener.sessions import Session, Sessions


def parcel(payload: bytes, qos: int = 1, expires_at: float | None = None) -> Parcel:
    return Parcel(Publish("t", payload, qos), qos, False, (), expires_at)


def payloads(queue: Queue) -> list[bytes]:
    return [each.publish.payload for each in queue]


def test_messages_come_out_in_the_order_in_which_they_went_in() -> None:
    queue = Queue(Room(), 10)
    for payload in (b"1", b"2", b"3"):
        assert queue.put(parcel(payload)) == 0
    taken = [queue.pop(0), queue.pop(0), queue.pop(0), queue.pop(0)]
    assert [each.publish.payload if each else None for each in taken] == [b"1", b"2", b"3", None]


def test_when_it_is_full_the_oldest_at_qos_0_goes_first_and_then_the_oldest() -> None:
    room = Room()
    queue = Queue(room, 3)
    for payload, qos in ((b"1", 1), (b"2", 0), (b"3", 1)):
        queue.put(parcel(payload, qos))
    assert queue.put(parcel(b"4")) == 1
    assert payloads(queue) == [b"1", b"3", b"4"]
    assert queue.put(parcel(b"5")) == 1
    assert payloads(queue) == [b"3", b"4", b"5"]
    assert queue.put(parcel(b"6", qos=0)) == 1  # itself
    assert payloads(queue) == [b"3", b"4", b"5"]
    assert room.dropped == 3


def test_a_message_of_any_size_waits_where_nothing_else_does() -> None:
    queue = Queue(Room(), 10, max_bytes=1000)
    assert queue.put(parcel(b"x" * 5000)) == 0
    assert queue.put(parcel(b"y" * 5000)) == 1
    assert payloads(queue) == [b"y" * 5000]


def test_what_all_queues_take_together_is_bounded() -> None:
    room = Room(max_bytes=10 * (OVERHEAD_BYTES + 101))
    queues = [Queue(room, 100) for _ in range(5)]
    for _ in range(5):
        for queue in queues:
            queue.put(parcel(b"x" * 100))
    assert room.used_bytes <= room.max_bytes
    assert [len(queue) for queue in queues] == [2] * 5
    assert room.dropped == 15
    assert [queue.clear() for queue in queues] == [2] * 5
    assert room.used_bytes == 0


def test_messages_whose_time_is_over_are_left_out() -> None:
    queue = Queue(Room(), 10)
    queue.put(parcel(b"1", expires_at=5.0))
    queue.put(parcel(b"2", expires_at=50.0))
    taken = queue.pop(10.0)
    assert taken is not None
    assert taken.publish.payload == b"2"
    assert queue.pop(10.0) is None


MESSAGES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 400), st.one_of(st.none(), st.integers(0, 20)), st.booleans())
)


@given(MESSAGES, st.integers(1, 6), st.integers(100, 1500), st.integers(300, 3000))
def test_bounds_hold_and_everything_is_accounted_for(
    messages: list[tuple[int, int, int | None, bool]], most: int, most_bytes: int, all_bytes: int
) -> None:
    room = Room(all_bytes)
    queues = [Queue(room, most, most_bytes) for _ in range(2)]
    put = dropped = taken = over = 0
    for now, (qos, size, expires_at, second) in enumerate(messages):
        queue = queues[second]
        put += 1
        dropped += queue.put(parcel(b"x" * size, qos, expires_at))
        assert room.used_bytes <= all_bytes
        assert len(queue) <= most
        if size % 3 == 0:
            before = len(queue)
            found = queue.pop(now)
            taken += found is not None
            over += before - len(queue) - (found is not None)
            assert found is None or found.expires_at is None or found.expires_at > now
    assert put == dropped + taken + over + sum(len(queue) for queue in queues)
    assert room.dropped == dropped
    for queue in queues:
        queue.clear()
    assert room.used_bytes == 0
    assert all(queue._at_qos_0 == 0 and queue._used_bytes == 0 for queue in queues)


def test_a_client_that_acknowledges_nothing_holds_no_more_than_its_share() -> None:
    room = Room(max_bytes=3 << 20)
    sessions = Sessions(10, 10, room)
    greedy, others = (sessions.begin(Connect(5, name, True), name, None) for name in ("greedy", "others"))
    for session in (greedy, others):
        session.outbound.begin(1000)
    large = Publish("t", b"x" * (300 << 10), 1)

    def send(session: Session) -> int:
        packet_id = session.outbound.next_packet_id()
        session.outbound.add(packet_id, Sent(large, 1, False, (), 0.0))
        return packet_id

    packet_ids = [send(greedy) for _ in range(100) if greedy.outbound.room]
    assert len(packet_ids) == 4  # 1 MiB, and what begins below it
    assert others.outbound.room > 0
    greedy.outbound.acknowledged(packet_ids[0])
    assert greedy.outbound.room > 0
    filling = Queue(room, 100, max_bytes=10 << 20)
    while filling.put(Parcel(large, 1, False, (), None)) == 0:
        pass
    small = Publish("t", b"x" * ((room.max_bytes - room.used_bytes) - 201), 1)
    filling.put(Parcel(small, 1, False, (), None))
    assert room.is_full
    assert greedy.outbound.room == 0
    assert others.outbound.room > 0  # one at a time goes on
    filling.clear()
    sessions.end(greedy)
    assert room.used_bytes == 0
