from __future__ import annotations

from edgeagent.agent.poison import Poison


def test_after_two_connections_without_an_acknowledgement_one_goes_alone_and_is_the_suspect_if_that_ends_too() -> None:
    poison = Poison()
    assert poison.ended(["a", "b"]) is None
    assert not poison.is_raised
    assert poison.ended(["a", "b"]) is None
    assert poison.is_raised
    assert poison.ended(["a"]) == "a"
    assert poison.is_raised, "the next one goes alone too"
    assert poison.ended(["b"]) == "b"


def test_an_acknowledgement_clears_everything() -> None:
    poison = Poison()
    for _ in range(2):
        poison.ended(["a", "b"])
    poison.acknowledged()
    assert not poison.is_raised
    assert poison.ended(["a"]) is None


def test_connections_that_ended_with_nothing_out_say_nothing() -> None:
    poison = Poison()
    for _ in range(9):
        assert poison.ended([]) is None
    assert not poison.is_raised
