"""One publishing request, from its batch to the outcome of each publication."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec

from edgeagent.common.backoff import full_jitter
from edgeagent.errors import Denied, Unavailable
from edgeagent.ports.link import TAKEN, UNHEARD, PublishOutcome, PublishRefused
from edgeagent.pubsub import messages
from edgeagent.pubsub.batches import RequestBatch, halves
from edgeagent.pubsub.client import PubSubClient
from edgeagent.pubsub.messages import Attempted
from edgeagent.pubsub.outcomes import JudgedAnswer, Verdict
from edgeagent.pubsub.terms import PubSubTerms

# A busy service is asked again a few times at once, before the publications are answered with its refusal: the
# dispatcher's answers have no other repetition than the gateway's.
TRIES = 4
RETRY_BASE_S = 0.5
RETRY_CAP_S = 4.0

Answered = Callable[[Sequence[Attempted], PublishOutcome, str], None]


async def published(client: PubSubClient, terms: PubSubTerms, batch: RequestBatch, answered: Answered) -> None:
    """Publish a batch, and tell `answered` the outcome of each of its entries, once.

    A batch that the service refuses as malformed is sent again in halves, until the message at fault stands alone.

    Raises:
        Unavailable, Denied: there was no answer, or somebody must do something about it; those entries of which
            `answered` was not told have no outcome.
    """
    judged, taken = await _asked(client, terms.publish_to, batch)
    if judged.verdict is Verdict.MALFORMED and len(batch.entries) > 1:
        for half in halves(batch):
            await published(client, terms, half, answered)
        return
    if judged.verdict is Verdict.DONE and taken == len(batch.entries):
        answered(batch.entries, TAKEN, "")
    elif judged.verdict is Verdict.DONE:
        # Which ones were taken cannot be told: those that were come twice, and nothing happens twice for it.
        reason = f"it took {taken} of {len(batch.entries)} messages"
        answered(batch.entries, PublishRefused(judged.status, reason), reason)
    elif judged.verdict is Verdict.MISSING:
        answered(batch.entries, UNHEARD, judged.reason)
    elif judged.verdict in {Verdict.MALFORMED, Verdict.LATER}:
        permanent = judged.verdict is Verdict.MALFORMED
        answered(batch.entries, PublishRefused(judged.status, judged.reason, permanent), judged.reason)
    else:
        failure = Denied if judged.verdict is Verdict.FORBIDDEN else Unavailable
        raise failure(terms.address, judged.reason)


async def _asked(client: PubSubClient, topic: str, batch: RequestBatch) -> tuple[JudgedAnswer, int]:
    """The answer to the request, and how many messages it says to have taken."""
    body = messages.publish_body(entry.message for entry in batch.entries)
    for tries in range(TRIES):
        answer = await client.call("publish", topic, body)
        if answer.judged.verdict is not Verdict.LATER or tries == TRIES - 1:
            break
        fraction = random.random()  # noqa: S311  jitter is no secret
        await asyncio.sleep(full_jitter(tries, fraction, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S))
    if answer.judged.verdict is not Verdict.DONE:
        return answer.judged, 0
    try:
        return answer.judged, messages.published_ids(answer.body)
    except (ValueError, msgspec.DecodeError):
        return JudgedAnswer(Verdict.STRANGE, answer.judged.status, "that is no answer of Pub/Sub to a publish"), 0
