"""What the agent says keeps its triggers from being taken, from the first sign until one is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.agent.trouble import Trouble
from tests.fakes.answering import Scene, scene

pytestmark = pytest.mark.virtual_time


def test_a_subscriber_ends_only_the_trouble_that_nobody_subscribes() -> None:
    trouble = Trouble()
    trouble.unheard("argo/workflows/trigger")
    assert trouble.what == "nobody subscribes to argo/workflows/trigger"
    assert "edgeagent dispatch" in trouble.remedy
    trouble.heard()
    assert (trouble.what, trouble.remedy) == ("", "")
    trouble.rehearsed("")
    trouble.heard()
    assert "only a dry-run dispatcher answers," in trouble.what


def test_what_an_engine_wrote_is_shown_short_and_on_one_line() -> None:
    trouble = Trouble()
    trouble.deferred("503 no\n\x1b[2J" + "x" * 10_000)
    assert trouble.what.isprintable()
    assert len(trouble.what) < 300


def stated(here: Scene) -> str:
    return str(here.stats()["trouble"])


async def test_a_dry_run_dispatcher_is_the_trouble_until_a_real_engine_answers(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [first, second] = await here.published(2)
        assert stated(here) == ""
        await here.hear(here.response(first, code=200, dry_run=True))
        assert "only a dry-run dispatcher answers" in stated(here)
        assert "accept_dry_run" in here.stats()["remedy"]
        await here.hear(here.response(second, code=503, retryable=True, error="engine away"))
        assert stated(here) == "the engine puts triggers off (503 engine away)"
        await here.hear(here.response(second, code=200))
        assert (stated(here), here.stats()["remedy"]) == ("", "")


async def test_a_late_answer_of_a_dry_run_to_a_trigger_that_was_taken_is_no_trouble(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [name] = await here.published(1)
        await here.hear(here.response(name, code=200))
        await here.hear(here.response(name, code=200, dry_run=True))
        assert stated(here) == ""


async def test_the_refusal_of_a_dry_run_is_logged_with_its_code_and_reason_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [first, second, third] = await here.published(3)
        refused = {"code": 403, "retryable": False, "error": "NOT_ALLOWED", "detail": "no\nrule", "dry_run": True}
        await here.hear(here.response(first, code=200, dry_run=True))
        await here.hear(here.response(second, **refused), here.response(third, **refused))
        assert "(403 NOT_ALLOWED: no\\nrule)" in stated(here)
        assert here.outbox.health.account.dead == 0
    accepted, told = [one.getMessage() for one in caplog.records if vars(one).get("event") == "dry_run_ignored"]
    assert f"answers (trigger {first})" in accepted
    assert f"refuses trigger {second} (403 NOT_ALLOWED: no\\nrule)" in told
