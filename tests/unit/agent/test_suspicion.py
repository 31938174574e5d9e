from __future__ import annotations

from edgeagent.agent.poison import Suspicion


def test_after_two_connections_without_an_acknowledgement_one_goes_alone_and_is_the_suspect_if_that_ends_too() -> None:
    suspicion = Suspicion()
    assert suspicion.ended(["a", "b"]) is None
    assert not suspicion.is_raised
    assert suspicion.ended(["a", "b"]) is None
    assert suspicion.is_raised
    assert suspicion.ended(["a"]) == "a"
    assert suspicion.is_raised, "the next one goes alone too"
    assert suspicion.ended(["b"]) == "b"


def test_an_acknowledgement_clears_everything() -> None:
    suspicion = Suspicion()
    for _ in range(2):
        suspicion.ended(["a", "b"])
    suspicion.acknowledged()
    assert not suspicion.is_raised
    assert suspicion.ended(["a"]) is None


def test_connections_that_ended_with_nothing_out_say_nothing() -> None:
    suspicion = Suspicion()
    for _ in range(9):
        assert suspicion.ended([]) is None
    assert not suspicion.is_raised
