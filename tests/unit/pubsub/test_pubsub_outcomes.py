"""What the statuses of the API mean."""

from __future__ import annotations

import json

import pytest

from edgeagent.pubsub.outcomes import Verdict, judged

TOPIC = "projects/plant-42/topics/triggers"


def said(text: object) -> bytes:
    return json.dumps({"error": {"code": 1, "message": text}}).encode()


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DONE),
        (400, Verdict.MALFORMED),
        (413, Verdict.MALFORMED),
        (401, Verdict.UNAUTHENTICATED),
        (403, Verdict.FORBIDDEN),
        (404, Verdict.MISSING),
        (409, Verdict.LATER),
        (429, Verdict.LATER),
        (500, Verdict.LATER),
        (503, Verdict.LATER),
        (204, Verdict.STRANGE),
        (302, Verdict.STRANGE),
        (418, Verdict.STRANGE),
    ],
)
def test_each_status_has_its_meaning(status: int, verdict: Verdict) -> None:
    assert judged("publish", TOPIC, status, b"").verdict is verdict


def test_a_missing_permission_is_named_with_the_role_that_grants_it() -> None:
    reason = judged("publish", TOPIC, 403, said("User not authorized to perform this action.")).reason
    assert f"pubsub.topics.publish on {TOPIC} (roles/pubsub.publisher)" in reason
    assert "User not authorized" in reason
    assert "pubsub.subscriptions.consume" in judged("pull", "s", 403, b"").reason


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": 5}', b"\xff", b'{"error": "text"}'])
def test_whatever_the_body_is_there_is_a_reason(body: bytes) -> None:
    assert "(503" in judged("publish", TOPIC, 503, body).reason


def test_the_service_cannot_steer_the_terminal_or_fill_the_log() -> None:
    reason = judged("publish", TOPIC, 400, said("\x1b[2J\n" + "x" * 5000)).reason
    assert reason.isprintable()
    assert len(reason) < 400
