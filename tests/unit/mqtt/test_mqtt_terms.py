from __future__ import annotations

import pytest

from edgeagent.mqtt.link import Abilities, Will
from edgeagent.mqtt.terms import Attempt, Terms

WILL = Will("state", b"offline", qos=1, retain=True, delay_s=30)
UNRETAINED, PLAIN = WILL._replace(retain=False), WILL._replace(retain=False, qos=0)


def test_a_will_that_cannot_be_retained_is_sent_again_without_at_once() -> None:
    terms = Terms("5", WILL)
    assert terms.will == WILL
    assert terms.ended(Attempt(refused_with=0x9A))
    assert terms.will == UNRETAINED
    assert not terms.ended(Attempt(refused_with=0x9A)), "it said the same of a will that asks for nothing"


def test_a_will_at_a_qos_that_the_broker_has_not_goes_at_qos_0() -> None:
    terms = Terms("5", WILL)
    assert terms.ended(Attempt(refused_with=0x9B))
    assert terms.will == WILL._replace(qos=0)
    assert terms.ended(Attempt(refused_with=0x9A))
    assert terms.will == PLAIN


def test_what_the_broker_says_of_itself_when_it_lets_us_in_counts_from_then_on() -> None:
    terms = Terms("5", WILL)
    terms.ended(Attempt(abilities=Abilities(retains=False, most_qos=0)))
    assert terms.will == PLAIN
    terms.ended(Attempt(abilities=Abilities()))
    assert terms.will == WILL


@pytest.mark.parametrize("attempt", [Attempt(), Attempt(refused_with=0x87), Attempt(unanswered=True)])
def test_any_other_ending_changes_nothing(attempt: Attempt) -> None:
    terms = Terms("5", WILL)
    assert not terms.ended(attempt)
    assert terms.will == WILL
    assert not Terms("5", None).ended(Attempt(refused_with=0x9A))


def test_a_broker_of_3_1_1_that_closes_without_an_answer_is_tried_with_a_plain_will_each_time() -> None:
    terms = Terms("3.1.1", WILL)
    for _ in range(2):
        assert terms.ended(Attempt(unanswered=True))
        assert (terms.will, terms.plain) == (PLAIN, True)
        assert not terms.ended(Attempt(unanswered=True)), "it was not the will"
        assert (terms.will, terms.plain) == (WILL, False)


def test_a_broker_of_3_1_1_that_ends_a_connection_over_a_retained_publication_is_given_none_next_time() -> None:
    for will in (None, WILL):
        terms = Terms("3.1.1", will)
        assert not terms.ended(Attempt(abilities=Abilities(), over_retained=True))
        assert terms.plain
        assert not terms.ended(Attempt(abilities=Abilities()))
        assert not terms.plain
