from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.common.elapsed import Instant
from edgeagent.ports.deliveries import WebhookDelivery
from edgeagent.webhooks.deliveries import AT_ONCE, BASE_S, CAP_S, MAX_IN_MEMORY, MIN_TRIES, DeliveryQueue

NOON_MS = 1_800_000_000_000
BOOT = b"this boot"


def at(ms: int, *, wall_ms: int | None = None) -> Instant:
    """An instant of this boot, which began at noon."""
    return Instant(ms if wall_ms is None else wall_ms, ms - NOON_MS, BOOT)


def delivery(seq: int, key: str = "", created_ms: int = NOON_MS) -> WebhookDelivery:
    return WebhookDelivery(seq, key or f"k{seq}", "running", at(created_ms), b"{}")


def queue(*deliveries: WebhookDelivery, give_up_s: float = 3600) -> DeliveryQueue:
    made = DeliveryQueue(give_up_s)
    made.add(deliveries)
    return made


def fail(of: DeliveryQueue, seq: int, now_s: float, now_ms: int = NOON_MS, retry_after_s: float = 0.0) -> list[int]:
    lost = of.failed(seq, now_s, at(now_ms), retry_after_s=retry_after_s, fraction=1.0)
    return [each.seq for each in lost]


def seqs(of: DeliveryQueue, now_s: float) -> list[int]:
    found = []
    while (each := of.next(now_s)) is not None:
        found.append(each.seq)
    return found


def test_deliveries_go_in_order_a_few_at_once_and_those_of_one_trigger_one_after_the_other() -> None:
    line = queue(delivery(1, "a"), delivery(2, "a"), *(delivery(seq) for seq in range(3, 10)))
    assert seqs(line, 0.0) == [1, 3, 4, 5]
    assert len(seqs(line, 0.0)) == 0
    assert AT_ONCE == 4
    line.done(1)
    assert seqs(line, 0.0) == [2]


def test_a_receiver_that_failed_rests_ever_longer_and_is_then_tried_with_one_delivery() -> None:
    line = queue(*(delivery(seq) for seq in range(1, 10)))
    now_s, waits = 0.0, []
    assert seqs(line, now_s) == [1, 2, 3, 4]
    for seq in (1, 2, 3, 4):
        fail(line, seq, now_s)
    for _ in range(12):
        wait_s = line.wait_s(now_s)
        assert wait_s is not None
        waits.append(wait_s)
        assert line.next(now_s + wait_s - 0.001) is None
        now_s += wait_s
        (seq,) = seqs(line, now_s)
        assert line.wait_s(now_s) is None  # until it is answered
        fail(line, seq, now_s)
    assert waits == sorted(waits)
    assert waits[0] == BASE_S * 2**3
    assert waits[-1] == CAP_S


def test_one_delivery_that_always_fails_holds_up_only_what_comes_after_it_for_the_same_trigger() -> None:
    line = queue(delivery(1, "poison"), delivery(2, "poison"), *(delivery(seq) for seq in range(3, 30)))
    now_s, taken, tries = 0.0, [], 0
    for _ in range(200):
        for seq in seqs(line, now_s):
            if seq == 1:
                tries += 1
                fail(line, seq, now_s)
            else:
                line.done(seq)
                taken.append(seq)
        wait_s = line.wait_s(now_s)
        assert wait_s is not None
        now_s += max(wait_s, 0.0)
    assert taken == list(range(3, 30))
    assert now_s > 3600
    assert tries < 300


def test_what_a_receiver_asks_for_is_waited() -> None:
    line = queue(delivery(1))
    line.next(0.0)
    fail(line, 1, 0.0, retry_after_s=120.0)
    assert line.wait_s(0.0) == 120.0
    assert line.next(119.0) is None
    assert line.next(120.0) is not None


def test_what_is_too_old_is_given_up_after_a_few_failures_and_not_by_a_clock_alone() -> None:
    line = queue(*(delivery(seq, created_ms=NOON_MS) for seq in (1, 2)), delivery(3, created_ms=NOON_MS + 10_000_000))
    late_ms = NOON_MS + 3_600_000
    now_s, lost = 0.0, list[int]()
    for number in range(1, MIN_TRIES + 1):
        now_s += line.wait_s(now_s) or 0.0
        found = line.next(now_s)
        assert found is not None
        lost = fail(line, found.seq, now_s, late_ms)
        assert bool(lost) == (number == MIN_TRIES)
    assert lost == [1, 2]
    line.done(3)
    assert line.wait_s(now_s) is None


def test_a_clock_that_is_set_makes_nothing_older_and_time_switched_off_counts() -> None:
    begun_wrong = WebhookDelivery(1, "a", "failed", Instant(86_400_000, 5_000, BOOT), b"{}")  # 1970
    of_last_week = WebhookDelivery(2, "b", "failed", Instant(NOON_MS - 7 * 86_400_000, 99_000_000, b"earlier"), b"{}")
    line = queue(begun_wrong, of_last_week)
    now, lost = Instant(NOON_MS, 60_000, BOOT), list[WebhookDelivery]()
    for now_s in (0.0, 1000.0, 2000.0, 3000.0):
        found = line.next(now_s)
        assert found is not None
        lost += line.failed(found.seq, now_s, now, fraction=1.0)
    assert lost == [of_last_week]


def test_a_receiver_that_wants_no_more_gets_nothing() -> None:
    line = queue(delivery(1), delivery(2))
    line.next(0.0)
    assert line.stop() == 2
    assert (line.next(0.0), line.wait_s(0.0), line.room) == (None, None, 0)


def test_no_more_than_the_limit_is_in_memory_and_what_is_kept_no_longer_is_forgotten() -> None:
    line = queue(*(delivery(seq) for seq in range(1, MAX_IN_MEMORY + 1)))
    assert (line.room, line.last_seq) == (0, MAX_IN_MEMORY)
    assert seqs(line, 0.0) == [1, 2, 3, 4]
    line.drop_to(10)
    assert line.room == 6
    assert all(not line.done(seq) for seq in (1, 2, 3, 4))
    assert seqs(line, 0.0) == [11, 12, 13, 14]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=30), st.data())
def test_everything_arrives_in_the_order_of_its_trigger_whatever_fails(
    plan: list[tuple[str, bool]], data: st.DataObject
) -> None:
    line = queue(*(delivery(seq, key) for seq, (key, _) in enumerate(plan, 1)))
    keys = {seq: key for seq, (key, _) in enumerate(plan, 1)}
    arrived: list[int] = []
    out: list[int] = []
    now_s = 0.0
    failures = 60
    while len(arrived) < len(plan):
        out += seqs(line, now_s)
        if not out:
            wait_s = line.wait_s(now_s)
            assert wait_s is not None
            now_s += max(wait_s, 0.0)
            continue
        seq = out.pop(data.draw(st.integers(0, len(out) - 1)))
        if failures and data.draw(st.booleans()):
            failures -= 1
            fail(line, seq, now_s)
        else:
            line.done(seq)
            arrived.append(seq)
    for key in "abc":
        of_key = [seq for seq in arrived if keys[seq] == key]
        assert of_key == sorted(of_key)
