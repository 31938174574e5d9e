from __future__ import annotations

import msgspec
import pytest

from edgeagent.mqtt.negotiation import Attempt, Negotiation
from edgeagent.ports.link import Abilities, Will

WILL = Will("state", b"offline", qos=1, retain=True, delay_s=30)
UNRETAINED, PLAIN = msgspec.structs.replace(WILL, retain=False), msgspec.structs.replace(WILL, retain=False, qos=0)


def test_a_will_that_cannot_be_retained_is_sent_again_without_at_once() -> None:
    negotiation = Negotiation("5", WILL)
    assert negotiation.will == WILL
    assert negotiation.ended(Attempt(refused_with=0x9A))
    assert negotiation.will == UNRETAINED
    assert not negotiation.ended(Attempt(refused_with=0x9A)), "it said the same of a will that asks for nothing"


def test_a_will_at_a_qos_that_the_broker_has_not_goes_at_qos_0() -> None:
    negotiation = Negotiation("5", WILL)
    assert negotiation.ended(Attempt(refused_with=0x9B))
    assert negotiation.will == msgspec.structs.replace(WILL, qos=0)
    assert negotiation.ended(Attempt(refused_with=0x9A))
    assert negotiation.will == PLAIN


def test_what_the_broker_says_of_itself_when_it_lets_us_in_counts_from_then_on() -> None:
    negotiation = Negotiation("5", WILL)
    negotiation.ended(Attempt(abilities=Abilities(retains=False, most_qos=0)))
    assert negotiation.will == PLAIN
    negotiation.ended(Attempt(abilities=Abilities()))
    assert negotiation.will == WILL


@pytest.mark.parametrize("attempt", [Attempt(), Attempt(refused_with=0x87), Attempt(unanswered=True)])
def test_any_other_ending_changes_nothing(attempt: Attempt) -> None:
    negotiation = Negotiation("5", WILL)
    assert not negotiation.ended(attempt)
    assert negotiation.will == WILL
    assert not Negotiation("5", None).ended(Attempt(refused_with=0x9A))


def test_a_broker_of_3_1_1_that_closes_without_an_answer_is_tried_with_a_plain_will_each_time() -> None:
    negotiation = Negotiation("3.1.1", WILL)
    for _ in range(2):
        assert negotiation.ended(Attempt(unanswered=True))
        assert (negotiation.will, negotiation.plain) == (PLAIN, True)
        assert not negotiation.ended(Attempt(unanswered=True)), "it was not the will"
        assert (negotiation.will, negotiation.plain) == (WILL, False)


def test_a_broker_of_3_1_1_that_ends_a_connection_over_a_retained_publication_is_given_none_next_time() -> None:
    for will in (None, WILL):
        negotiation = Negotiation("3.1.1", will)
        assert not negotiation.ended(Attempt(abilities=Abilities(), over_retained=True))
        assert negotiation.plain
        assert not negotiation.ended(Attempt(abilities=Abilities()))
        assert not negotiation.plain
