from __future__ import annotations

from time import thread_time

import pytest

from edgeagent.listener.packets import TopicSubscription
from edgeagent.listener.subscriptions import Grant, Receiver, Subscriptions


def subscribed(*filters: str, client_id: str = "c") -> Subscriptions:
    subscriptions = Subscriptions()
    for each in filters:
        subscriptions.add(client_id, TopicSubscription(each))
    return subscriptions


def who(subscriptions: Subscriptions, topic: str) -> set[str]:
    return {receiver.client_id for receiver in subscriptions.receivers(topic)}


# The examples of MQTT 5, section 4.7.1 and 4.7.2.
@pytest.mark.parametrize(
    ("topic_filter", "fitting", "others"),
    [
        ("sport/tennis/player1/#", ["sport/tennis/player1", "sport/tennis/player1/score/wimbledon"], ["sport/tennis"]),
        ("sport/#", ["sport", "sport/x/y"], ["sports", "$sport"]),
        ("#", ["a", "/a", "a/b/c"], ["$SYS", "$SYS/monitor"]),
        ("sport/tennis/+", ["sport/tennis/player1", "sport/tennis/"], ["sport/tennis/player1/ranking", "sport/tennis"]),
        ("sport/+", ["sport/"], ["sport"]),
        ("+/+", ["/finance"], ["finance", "$SYS/x"]),
        ("/+", ["/finance"], ["finance/x"]),
        ("+", ["finance"], ["/finance", "$SYS"]),
        ("+/monitor/Clients", ["a/monitor/Clients"], ["$SYS/monitor/Clients"]),
        ("$SYS/#", ["$SYS", "$SYS/a/b"], ["SYS"]),
        ("$SYS/monitor/+", ["$SYS/monitor/Clients"], ["$SYS/monitor"]),
        ("Accounts", ["Accounts"], ["ACCOUNTS", "Accounts/"]),
    ],
)
def test_filters_match_as_the_specification_has_it(topic_filter: str, fitting: list[str], others: list[str]) -> None:
    subscriptions = subscribed(topic_filter)
    assert [topic for topic in (*fitting, *others) if who(subscriptions, topic)] == fitting


def test_a_client_gets_a_message_once_at_the_highest_qos_with_the_numbers_of_all_its_subscriptions() -> None:
    subscriptions = Subscriptions()
    subscriptions.add("c", TopicSubscription("a/#", 0), 7)
    subscriptions.add("c", TopicSubscription("a/+", 2, retain_as_published=True), 3)
    subscriptions.add("c", TopicSubscription("a/b", 1))
    subscriptions.add("d", TopicSubscription("+/b", 1), 7)
    assert sorted(subscriptions.receivers("a/b"), key=lambda one: one.client_id) == [
        Receiver("c", 2, True, (3, 7)),
        Receiver("d", 1, False, (7,)),
    ]


def test_subscribing_again_takes_the_place_of_the_subscription() -> None:
    subscriptions = subscribed("a/b")
    assert not subscriptions.add("c", TopicSubscription("a/b", 2), 5)
    assert subscriptions.receivers("a/b") == [Receiver("c", 2, False, (5,))]
    assert subscriptions.count == 1
    assert subscriptions.of("c") == {"a/b": Grant(2, False, False, 5)}


def test_no_local_holds_for_the_subscription_that_has_it_and_not_for_the_others() -> None:
    subscriptions = Subscriptions()
    subscriptions.add("c", TopicSubscription("a/#", 2, no_local=True), 1)
    (receiver,) = subscriptions.receivers("a/b")
    assert receiver.of_own() is None
    subscriptions.add("c", TopicSubscription("a/b", 1), 2)
    (receiver,) = subscriptions.receivers("a/b")
    assert (receiver.qos, receiver.identifiers) == (2, (1, 2))
    assert receiver.of_own() == Receiver("c", 1, False, (2,))
    (without,) = subscribed("a").receivers("a")
    assert without.of_own() == without


def test_what_is_unsubscribed_brings_nothing_any_more_and_leaves_nothing_behind() -> None:
    subscriptions = subscribed("a/b", "a/#", "a/b/c")
    before = who(subscriptions, "a/b")
    assert before == {"c"}
    assert subscriptions.remove("c", "a/#")
    assert not subscriptions.remove("c", "a/#")
    assert not subscriptions.remove("stranger", "a/b")
    assert who(subscriptions, "a/x") == set()
    subscriptions.remove_all("c")
    assert who(subscriptions, "a/b") == set()
    assert subscriptions.count == 0
    assert not subscriptions._root.children
    assert subscriptions._cost == 0


def test_one_client_takes_its_share_of_filters_and_no_more() -> None:
    subscriptions = Subscriptions(max_cost_of_one=10, max_cost=15)
    for number in range(5):
        assert subscriptions.has_room("c", f"a/{number}")
        subscriptions.add("c", TopicSubscription(f"a/{number}"))
    assert not subscriptions.has_room("c", "b")
    assert subscriptions.has_room("c", "a/4")  # it is there
    assert subscriptions.has_room("d", "a/b/c/d/e")
    assert not subscriptions.has_room("d", "a/b/c/d/e/f")
    subscriptions.remove("c", "a/0")
    assert subscriptions.has_room("c", "b")


def test_long_filters_count_for_more() -> None:
    subscriptions = Subscriptions(max_cost_of_one=10)
    assert subscriptions.has_room("c", "x" * 500)
    assert not subscriptions.has_room("c", "x" * 700)


def test_ever_new_topics_take_no_memory() -> None:
    subscriptions = subscribed("#")
    for number in range(5000):
        subscriptions.receivers(f"topic/{number}")
    subscriptions.receivers("x" * 60_000)
    assert len(subscriptions._known) <= 1024
    assert all(len(topic) <= 256 for topic in subscriptions._known)


def test_a_topic_of_thousands_of_levels_is_no_trouble() -> None:
    subscriptions = subscribed("#", "a/#", "/".join(["+"] * 2000))
    assert who(subscriptions, "a" + "/" * 30_000) == {"c"}


def test_matching_takes_as_long_among_many_subscriptions_as_among_few() -> None:
    few, many = (subscribed(*(f"plant/{number}/+/temp" for number in range(count))) for count in (10, 1_200))

    def took(subscriptions: Subscriptions) -> float:
        begun = thread_time()
        for number in range(2_000):
            subscriptions._merged(f"plant/{number % 10}/x/temp")
        return thread_time() - begun

    assert min(took(many) for _ in range(3)) < 5 * min(took(few) for _ in range(3))
