"""What goes into one publishing request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.pubsub.batches import MAX_MESSAGES, MAX_REQUEST_BYTES, Batches, RequestBatch, halves, is_too_large
from edgeagent.pubsub.messages import Attempted, publish_body


def entry(token: int, size_bytes: int = 100, key: str = "") -> Attempted:
    return Attempted(token, b"m" * size_bytes, key)


def drained(batches: Batches) -> list[RequestBatch]:
    found = []
    while (batch := batches.take()) is not None:
        found.append(batch)
        batches.done(batch)
    return found


def test_a_request_has_at_most_a_thousand_messages() -> None:
    batches = Batches()
    for token in range(MAX_MESSAGES + 1):
        batches.add(entry(token))
    assert [len(batch.entries) for batch in drained(batches)] == [MAX_MESSAGES, 1]


@given(st.lists(st.integers(1, 4_000_000), max_size=12), st.lists(st.sampled_from(["", "a", "b"]), max_size=12))
def test_no_request_is_too_large_or_mixes_keys_and_nothing_is_left_out_or_overtaken(
    sizes: list[int], keys: list[str]
) -> None:
    batches, added = Batches(), [entry(n, size, key) for n, (size, key) in enumerate(zip(sizes, keys, strict=False))]
    for one in added:
        batches.add(one)
    found = drained(batches)
    for batch in found:
        assert {one.ordering_key for one in batch.entries} == {batch.ordering_key}
        assert len(publish_body(one.message for one in batch.entries)) <= MAX_REQUEST_BYTES
    for key in ("", "a", "b"):
        left = [one.token for batch in found for one in batch.entries if one.ordering_key == key]
        assert left == [one.token for one in added if one.ordering_key == key]


def test_while_a_request_with_an_ordering_key_is_under_way_only_others_go() -> None:
    batches = Batches()
    batches.add(entry(1, key="boiler-1"))
    first = batches.take()
    assert first is not None
    batches.add(entry(2, key="boiler-1"))
    batches.add(entry(3, key="boiler-2"))
    assert [one.token for one in (batches.take() or first).entries] == [3]
    assert batches.take() is None
    batches.done(first)
    assert [one.token for one in (batches.take() or first).entries] == [2]


def test_a_message_that_no_request_holds_is_known_beforehand() -> None:
    fits = MAX_REQUEST_BYTES - len(publish_body([]))
    assert not is_too_large(entry(1, fits))
    assert is_too_large(entry(1, fits + 1))


def test_a_refused_request_is_halved_in_order() -> None:
    batch = RequestBatch("key", [entry(n) for n in range(5)])
    tokens = [[one.token for one in half.entries] for half in halves(batch)]
    assert tokens == [[0, 1], [2, 3, 4]]
    assert {half.ordering_key for half in halves(batch)} == {"key"}
