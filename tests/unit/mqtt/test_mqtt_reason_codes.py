from __future__ import annotations

import pytest

from edgeagent.mqtt.reason_codes import WORDS, answer, publish_outcome
from edgeagent.ports.link import TAKEN, UNHEARD, Ack, PublishRefused


@pytest.mark.parametrize(("code", "outcome"), [(0x00, TAKEN), (0x10, UNHEARD), (0x11, TAKEN)])
def test_what_is_no_failure_was_taken_unless_nobody_subscribes(code: int, outcome: object) -> None:
    assert publish_outcome(code) is outcome


@pytest.mark.parametrize("code", [*WORDS, 0xFE])
def test_a_failure_says_why_in_words_with_its_code_and_what_the_broker_said(code: int) -> None:
    refused = publish_outcome(code, "acl 7")
    assert isinstance(refused, PublishRefused)
    words = WORDS.get(code, "an unknown reason")
    assert str(refused) == f"the broker refused the message: {words} (0x{code:02x}): acl 7"
    assert refused.code == code


def test_who_must_act_and_where_is_known_of_each_code() -> None:
    refusals = {code: publish_outcome(code) for code in WORDS}
    permanent = {code for code, one in refusals.items() if isinstance(one, PublishRefused) and one.permanent}
    over_topic = {code for code, one in refusals.items() if isinstance(one, PublishRefused) and one.over_topic}
    assert permanent == {0x87, 0x90, 0x95, 0x99}
    assert over_topic == {0x87, 0x90}


def test_an_answer_names_its_publication() -> None:
    assert answer(7, 0) == Ack(7)
    assert answer(7, 0x97).outcome == publish_outcome(0x97)
