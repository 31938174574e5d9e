from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from edgeagent.argo.wire import Metadata, Workflow
from edgeagent.dispatcher import argo
from edgeagent.dispatcher.argo import ArgoEngine
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import Created, Duplicate, NameTaken
from edgeagent.errors import EngineError, EngineRefused, EngineUnavailable
from edgeagent.wire.messages import Status

pytestmark = pytest.mark.virtual_time

URL = "https://argo.example:2746"
LABELS = {"edgeagent.io/agent": "gw-1", "edgeagent.io/correlation-id": "c"}
EXISTS = EngineRefused(URL, 409, 'workflows.argoproj.io "a" already exists')
CONFLICT = EngineRefused(URL, 409, "the object has been modified")

Answer = Workflow | EngineError | None


def order(name: str = "a", *, agent: str = "gw-1", correlation_id: str = "c", attempt: int = 1) -> Order:
    generate_name = "" if name else "gen-"
    return Order("plant", name, generate_name, agent, correlation_id, attempt, "inspect", {"spec": {}})


def workflow(labels: dict[str, str] | None = None, name: str = "a") -> Workflow:
    return Workflow(Metadata(name=name, namespace="plant", labels=labels))


def told(outcome: Duplicate | NameTaken, labels: dict[str, str] | None) -> Duplicate | NameTaken:
    """A duplicate tells how the workflow is, by its labels."""
    if isinstance(outcome, NameTaken):
        return outcome
    given = labels or {}
    agent, correlation_id = given.get("edgeagent.io/agent", ""), given.get("edgeagent.io/correlation-id", "")
    return Duplicate("a", Status("plant", "a", "Pending", agent=agent, correlation_id=correlation_id))


class ScriptedClient:
    """Answers as it is told, in order; `asked` is what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def create(self, namespace: str, workflow: Mapping[str, Any]) -> Workflow:
        """See `Client`."""
        assert namespace == "plant"
        assert workflow == {"spec": {}}
        answer = self._next("create")
        assert answer is not None
        return answer

    async def get(self, namespace: str, name: str) -> Workflow | None:
        """See `Client`."""
        assert namespace == "plant"
        return self._next(f"get {name}")

    async def check(self) -> str:
        """See `Client`."""
        self._next("check")
        return "v4"

    def _next(self, what: str) -> Workflow | None:
        self.asked.append(what)
        answer = self.answers.pop(0)
        if isinstance(answer, EngineError):
            raise answer
        return answer


def engine(*answers: Answer, token_file: str = "") -> tuple[ArgoEngine, ScriptedClient]:
    client = ScriptedClient(*answers)
    return ArgoEngine(client, probe_namespace="plant", token_file=token_file), client


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tries as ever, without the waits between them."""
    monkeypatch.setattr(argo, "_CONFLICT_PAUSES_S", tuple(0.0 for _ in argo._CONFLICT_PAUSES_S))


async def test_a_first_attempt_creates_without_asking() -> None:
    started, client = engine(workflow())
    assert await started.create(order()) == Created("a")
    assert client.asked == ["create"]


@pytest.mark.parametrize("attempt", [0, 2])
async def test_what_may_not_be_the_first_attempt_asks_and_finds_what_the_first_one_started(attempt: int) -> None:
    started, client = engine(workflow(LABELS))
    assert await started.create(order(attempt=attempt)) == told(Duplicate("a"), LABELS)
    assert client.asked == ["get a"]


async def test_a_later_attempt_whose_first_came_to_nothing_creates() -> None:
    started, client = engine(None, workflow())
    assert await started.create(order(attempt=2)) == Created("a")
    assert client.asked == ["get a", "create"]


async def test_a_name_that_only_the_archive_knows_from_another_order_is_free_again() -> None:
    started, _ = engine(workflow({**LABELS, "edgeagent.io/correlation-id": "of-yesterday"}), workflow())
    assert await started.create(order(attempt=0)) == Created("a")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (LABELS, Duplicate("a")),
        ({**LABELS, "edgeagent.io/agent": "gw-2"}, NameTaken("a")),
        ({"edgeagent.io/correlation-id": "c"}, NameTaken("a")),
        ({}, NameTaken("a")),
        (None, NameTaken("a")),
    ],
)
async def test_whose_workflow_a_409_met_is_told_by_its_labels(
    labels: dict[str, str] | None, expected: Duplicate | NameTaken
) -> None:
    started, client = engine(EXISTS, workflow(labels))
    assert await started.create(order()) == told(expected, labels)
    assert client.asked == ["create", "get a"]


@pytest.mark.parametrize(
    ("correlation_id", "labels", "expected"),
    [
        ("a", None, Duplicate("a")),
        ("a", {"edgeagent.io/correlation-id": "a"}, Duplicate("a")),
        ("a", LABELS, NameTaken("a")),
        ("order-7", None, NameTaken("a")),
        ("order-7", {"edgeagent.io/correlation-id": "order-7"}, Duplicate("a")),
    ],
)
async def test_a_foreign_trigger_is_known_by_its_correlation_data_or_else_by_the_name(
    correlation_id: str, labels: dict[str, str] | None, expected: Duplicate | NameTaken
) -> None:
    started, _ = engine(EXISTS, workflow(labels))
    assert await started.create(order(agent="", correlation_id=correlation_id)) == told(expected, labels)


async def test_a_409_that_no_workflow_explains_is_a_write_conflict_and_tried_again() -> None:
    started, client = engine(CONFLICT, None, CONFLICT, None, workflow())
    assert await started.create(order()) == Created("a")
    assert client.asked == ["create", "get a", "create", "get a", "create"]


async def test_conflicts_without_end_are_an_engine_that_is_not_available() -> None:
    started, _ = engine(*[CONFLICT, None] * 6)
    with pytest.raises(EngineUnavailable) as caught:
        await started.create(order())
    assert "6 conflicts in a row" in str(caught.value)
    assert "the object has been modified" in str(caught.value)


async def test_a_generated_name_is_created_as_it_comes_and_again_only_after_a_conflict() -> None:
    started, client = engine(workflow(name="gen-x2k4z"))
    assert await started.create(order("", attempt=0)) == Created("gen-x2k4z")
    assert client.asked == ["create"]
    started, client = engine(CONFLICT, workflow(name="gen-x2k4z"))
    assert await started.create(order("")) == Created("gen-x2k4z")
    started, client = engine(EngineUnavailable(URL, "no answer in 10 s"))
    with pytest.raises(EngineUnavailable):
        await started.create(order(""))
    assert client.asked == ["create"]


@pytest.mark.parametrize("answer", [Workflow(), workflow(name="b")])
async def test_an_answer_that_is_not_the_workflow_proves_nothing(answer: Workflow) -> None:
    started, _ = engine(answer)
    with pytest.raises(EngineUnavailable):
        await started.create(order())


@pytest.mark.parametrize("refusal", [EngineRefused(URL, 403, "forbidden"), None])
async def test_a_probe_that_is_let_in_but_may_not_look_has_succeeded(refusal: EngineError | None) -> None:
    started, client = engine(None, refusal)
    await started.probe()
    assert client.asked == ["check", "get edgeagent-probe"]


@pytest.mark.parametrize(
    "answers",
    [
        [EngineUnavailable(URL, "refused")],
        [EngineRefused(URL, 404, "no such page")],
        [None, EngineUnavailable(URL, "503: the API server is away")],
        [None, EngineRefused(URL, 401, "token not valid")],
    ],
)
async def test_a_probe_fails_with_what_the_engine_says(answers: list[Answer]) -> None:
    started, _ = engine(*answers)
    with pytest.raises(EngineError):
        await started.probe()


async def test_a_refused_token_is_told_with_the_file_it_is_in() -> None:
    refusal = EngineRefused(URL, 401, "token not valid")
    started, _ = engine(refusal, None, refusal, token_file="/etc/edgeagent/argo.token")  # noqa: S106  a file's name
    for call in (started.create(order()), started.probe()):
        with pytest.raises(EngineRefused) as caught:
            await call
        assert (caught.value.status, caught.value.url) == (401, URL)
        assert caught.value.message == "the token in /etc/edgeagent/argo.token was refused: token not valid"
    started, _ = engine(refusal)
    with pytest.raises(EngineRefused, match="a request without a token_file was refused"):
        await started.create(order())
