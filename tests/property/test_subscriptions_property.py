"""The trie against the obvious way: each filter compared with each topic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.listener.packets import TopicSubscription
from edgeagent.listener.subscriptions import Subscriptions
from edgeagent.wire.topics import matches

LEVEL = st.sampled_from(["a", "b", "", "$a"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
CLIENT = st.sampled_from(["x", "y", "z"])


@st.composite
def filters(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.one_of(LEVEL, st.just("+")), min_size=0, max_size=4))
    return "/".join([*levels, "#"] if not "/".join(levels) or draw(st.booleans()) else levels)


CHANGES = st.lists(
    st.tuples(CLIENT, filters(), st.integers(0, 2), st.booleans(), st.integers(0, 3), st.booleans()), max_size=25
)


@given(CHANGES, st.lists(TOPIC, min_size=1, max_size=5))
def test_who_gets_what_is_what_comparing_each_filter_says(
    changes: list[tuple[str, str, int, bool, int, bool]], topics: list[str]
) -> None:
    trie = Subscriptions()
    naive: dict[tuple[str, str], tuple[int, bool, int]] = {}
    for client, each, qos, no_local, identifier, stays in changes:
        if stays:
            is_new = trie.add(client, TopicSubscription(each, qos, no_local), identifier)
            assert is_new == ((client, each) not in naive)
            naive[client, each] = (qos, no_local, identifier)
        else:
            assert trie.remove(client, each) == (naive.pop((client, each), None) is not None)
        topic = topics[0]  # asked in between, so that what is remembered of it must be forgotten
        assert {found.client_id for found in trie.receivers(topic)} == {
            client for client, each in naive if matches(each, topic)
        }
    assert trie.count == len(naive)
    for topic in topics:
        found = {receiver.client_id: receiver for receiver in trie.receivers(topic)}
        assert len(found) == len(trie.receivers(topic))
        for client in ("x", "y", "z"):
            mine = [grant for (who, each), grant in naive.items() if who == client and matches(each, topic)]
            assert (client in found) == bool(mine)
            if not mine:
                continue
            assert found[client].qos == max(qos for qos, _, _ in mine)
            assert found[client].identifiers == tuple(sorted({number for _, _, number in mine if number}))
            own = found[client].of_own()
            echoed = [qos for qos, no_local, _ in mine if not no_local]
            assert (own.qos if own is not None else None) == max(echoed, default=None)
