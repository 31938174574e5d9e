from __future__ import annotations

import pytest

from edgeagent.agent.causes import BUSY, ENGINE, REHEARSAL, SILENT, UNHEARD, Cause, CauseKind, disproved_by, of_answer

PLANT = Cause(CauseKind.FORBIDDEN, "plant")
INSPECT = Cause(CauseKind.MISSING, "inspect")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (503, ENGINE),
        (500, ENGINE),
        (429, ENGINE),
        (408, ENGINE),
        (403, PLANT),
        (404, INSPECT),
        (409, Cause(CauseKind.OTHER, "inspect")),
    ],
)
def test_an_answer_that_asks_for_another_try_says_what_to_wait_for(code: int, cause: Cause) -> None:
    assert of_answer(code, "plant", "inspect") == cause


def test_a_success_disproves_what_it_says_something_about_and_nothing_of_other_namespaces_and_rules() -> None:
    disproved = set(disproved_by(200, "plant", "inspect"))
    assert disproved == {SILENT, REHEARSAL, ENGINE, PLANT, INSPECT, Cause(CauseKind.OTHER, "inspect")}
    assert not disproved & {UNHEARD, BUSY, Cause(CauseKind.FORBIDDEN, "mill"), Cause(CauseKind.MISSING, "other")}


@pytest.mark.parametrize("code", [400, 403, 404, 409])
def test_a_refusal_shows_that_the_engine_is_there_and_no_more(code: int) -> None:
    assert set(disproved_by(code, "plant", "inspect")) == {SILENT, REHEARSAL, ENGINE}


def test_an_engine_that_is_away_shows_only_that_somebody_answers() -> None:
    assert set(disproved_by(503, "plant", "inspect")) == {SILENT, REHEARSAL}
    assert set(disproved_by(200, "plant", "inspect", rehearsal=True)) == {SILENT}
