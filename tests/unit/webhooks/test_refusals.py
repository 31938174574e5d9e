from __future__ import annotations

from edgeagent.common.elapsed import Instant
from edgeagent.ports.deliveries import WebhookDelivery
from edgeagent.webhooks.refusals import PERIOD_S, RefusalLines, UntoldRefusals, advice


def delivery(seq: int) -> WebhookDelivery:
    return WebhookDelivery(seq, f"c-{seq}", "failed", Instant(1000 * seq, seq, b"boot"), b"{}")


def test_the_first_refusal_is_told_and_those_of_the_next_minute_together_with_their_range() -> None:
    refusals = RefusalLines()
    told = [refusals.is_told(delivery(seq), 10.0 + seq) for seq in (1, 2, 4, 3)]
    assert told == [True, False, False, False]
    assert refusals.due(11.0 + PERIOD_S - 0.1) is None
    assert refusals.wait_s(12.0) == PERIOD_S - 1
    assert refusals.due(11.0 + PERIOD_S) == UntoldRefusals(3, 2, 4, 2000, 4000)
    assert (refusals.due(1e9), refusals.wait_s(1e9)) == (None, None)


def test_what_is_left_at_the_end_is_told_then() -> None:
    refusals = RefusalLines()
    for seq in (1, 2):
        refusals.is_told(delivery(seq), 10.0)
    assert refusals.rest() == UntoldRefusals(1, 2, 2, 2000, 2000)
    assert refusals.rest() is None


def test_a_refusal_that_the_secret_may_cause_names_it() -> None:
    assert "secret_file" in advice(401)
    assert "secret_file" in advice(403)
    assert advice(422) == ""
