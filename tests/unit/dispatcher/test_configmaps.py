from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from edgeagent.argo.wire import ArgoParameter, Metadata, Workflow
from edgeagent.dispatcher.configmaps import ConfigMaps, Patience, configmap_of
from edgeagent.errors import EngineRefused, EngineUnavailable
from tests.fakes.configmaps import CORRELATION_ID, LABELS, URL, Api, applying, configmap_name, ended
from tests.waiting import turns, until

pytestmark = pytest.mark.virtual_time

QUICK = Patience(base_s=0.0, cap_s=0.0)


class Done:
    """Keeps of which workflows it was told that nothing is left to do, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, what: str) -> Callable[[], None]:
        """Who is to be told of this one."""
        return lambda: self.told.append(what)


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(getattr(record, "event", ""), record.levelname) for record in caplog.records]


@pytest.mark.parametrize(("phase", "result"), [("Succeeded", "success"), ("Failed", "failure"), ("Error", "error")])
def test_a_configmap_tells_the_end_of_its_workflow_and_is_owned_by_it(phase: str, result: str) -> None:
    url = ArgoParameter("artifact-url", "s3://results/1.parquet")
    workflow = ended(phase, parameters=[ArgoParameter("count", 3), url], message="step two")
    assert configmap_of("plant", workflow) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": configmap_name(CORRELATION_ID),
            "namespace": "plant",
            "labels": {key: text for key, text in LABELS.items() if key.startswith("edgeagent.io/")},
            "ownerReferences": [
                {
                    "apiVersion": "argoproj.io/v1alpha1",
                    "kind": "Workflow",
                    "name": f"overheat-{CORRELATION_ID}",
                    "uid": "u-1",
                }
            ],
        },
        "data": {
            "result": result,
            "artifact-url": "s3://results/1.parquet",
            "completed-at": "2026-03-20T12:00:00Z",
            "message": "step two",
        },
    }


@pytest.mark.parametrize(
    ("parameters", "url"),
    [
        (None, None),
        ([], None),
        ([ArgoParameter("other", "x")], None),
        ([ArgoParameter("artifact-url", None)], None),
        ([ArgoParameter("artifact-url", "")], None),
        ([ArgoParameter("artifact-url", "x" * 4001)], None),
        ([ArgoParameter("artifact-url", 5)], "5"),
        ([ArgoParameter("artifact-url", {"bucket": ["a"]})], '{"bucket":["a"]}'),
    ],
)
def test_the_url_is_text_or_not_there(parameters: list[ArgoParameter] | None, url: str | None) -> None:
    configmap = configmap_of("plant", ended(parameters=parameters))
    assert configmap is not None
    assert configmap["data"].get("artifact-url") == url
    assert all(isinstance(text, str) for text in configmap["data"].values())


@pytest.mark.parametrize(
    "workflow",
    [
        ended("Running"),
        ended(""),
        ended(uid=""),
        ended(correlation_id=""),
        ended(correlation_id="Night_Shift"),
        ended(labels={"workflows.argoproj.io/workflow-archiving-status": "Persisted"}),
        ended(labels={"workflows.argoproj.io/resubmitted-from-workflow": "overheat-1"}),
        Workflow(Metadata("w", "plant", "u")),
    ],
)
def test_without_an_end_an_owner_or_a_name_there_is_no_configmap(workflow: Workflow) -> None:
    assert configmap_of("plant", workflow) is None


def test_a_live_workflow_that_is_archived_too_has_its_configmap() -> None:
    labels = {"workflows.argoproj.io/workflow-archiving-status": "Archived"}
    assert configmap_of("plant", ended(labels=labels)) is not None


def test_a_long_message_is_cut() -> None:
    configmap = configmap_of("plant", ended(message="x" * 5000))
    assert configmap is not None
    assert configmap["data"]["message"] == "x" * 2000


async def test_each_result_is_applied_a_few_at_a_time() -> None:
    api, done = Api(), Done()
    configmaps = ConfigMaps(api, "plant")
    api.gate.clear()
    ids = [f"c{number}" for number in range(50)]
    async with applying(configmaps):
        for correlation_id in ids:
            configmaps.put(ended(correlation_id=correlation_id), done(correlation_id))
        await until(lambda: len(api.asked) == 4)
        await turns()
        assert (len(api.asked), configmaps.pending, done.told) == (4, 50, [])
        api.gate.set()
        await until(lambda: not configmaps.pending)
    assert sorted(applied for applied, _ in api.applied) == sorted(map(configmap_name, ids))
    assert sorted(done.told) == sorted(ids)
    assert (configmaps.applied, configmaps.lost) == (50, 0)


async def test_an_api_server_that_is_away_is_tried_again_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    api, done = Api(), Done()
    for correlation_id in "ab":
        api.failures[configmap_name(correlation_id)] = [
            EngineUnavailable(URL, "away"),
            EngineRefused(URL, 401, "Unauthorized"),
            EngineRefused(URL, 409, "conflict"),
        ]
    configmaps = ConfigMaps(api, "plant", QUICK)
    async with applying(configmaps):
        for correlation_id in "ab":
            configmaps.put(ended(correlation_id=correlation_id), done(correlation_id))
        await until(lambda: not configmaps.pending)
    assert sorted(done.told) == ["a", "b"]
    assert (configmaps.applied, configmaps.lost) == (2, 0)
    assert events(caplog) == [("configmap_unavailable", "WARNING"), ("configmap_works", "INFO")]


async def test_a_retry_waits_as_long_as_was_asked_for() -> None:
    api, done = Api(), Done()
    api.failures[configmap_name("a")] = [EngineUnavailable(URL, "busy", retry_after_s=0.05)]
    configmaps = ConfigMaps(api, "plant", QUICK)
    loop = asyncio.get_running_loop()
    async with applying(configmaps):
        began_s = loop.time()
        configmaps.put(ended(correlation_id="a"), done("a"))
        await until(lambda: done.told == ["a"])
        assert loop.time() - began_s >= 0.05


async def test_a_refused_right_gives_up_at_once_with_one_error_that_names_it(caplog: pytest.LogCaptureFixture) -> None:
    api, done = Api(), Done()
    ids = [f"c{number}" for number in range(10)]
    message = "cannot patch resource configmaps"
    api.failures = {configmap_name(correlation_id): [EngineRefused(URL, 403, message)] for correlation_id in ids}
    configmaps = ConfigMaps(api, "plant", QUICK)
    async with applying(configmaps):
        for correlation_id in ids:
            configmaps.put(ended(correlation_id=correlation_id), done(correlation_id))
        await until(lambda: not configmaps.pending)
        assert sorted(done.told) == ids
        assert (len(api.asked), configmaps.applied, configmaps.lost) == (10, 0, 10)
        assert events(caplog) == [("configmap_lost", "ERROR")]
        text = caplog.records[0].getMessage()
        assert all(part in text for part in (message, "'plant'", "create and patch of configmaps"))
        configmaps.put(ended(correlation_id="granted"), done("granted"))
        await until(lambda: configmaps.applied == 1)


async def test_one_that_is_not_taken_does_not_hold_back_the_next() -> None:
    api, done = Api(), Done()
    api.failures[configmap_name("a")] = [EngineRefused(URL, 422, "invalid")]
    configmaps = ConfigMaps(api, "plant", QUICK)
    async with applying(configmaps):
        for correlation_id in "ab":
            configmaps.put(ended(correlation_id=correlation_id), done(correlation_id))
        await until(lambda: len(done.told) == 2)
    assert [applied for applied, _ in api.applied] == [configmap_name("b")]
    assert (configmaps.applied, configmaps.lost) == (1, 1)


async def test_where_the_namespace_is_gone_nothing_is_left_to_do(caplog: pytest.LogCaptureFixture) -> None:
    api, done = Api(), Done()
    api.failures[configmap_name("a")] = [EngineRefused(URL, 404, 'namespaces "plant" not found')]
    configmaps = ConfigMaps(api, "plant", QUICK)
    async with applying(configmaps):
        configmaps.put(ended(correlation_id="a"), done("a"))
        await until(lambda: done.told == ["a"])
    assert (configmaps.applied, configmaps.lost, events(caplog)) == (0, 0, [])


async def test_after_its_time_one_is_given_up_and_told(caplog: pytest.LogCaptureFixture) -> None:
    api, done = Api(), Done()
    api.failures[configmap_name("a")] = [EngineUnavailable(URL, "away") for _ in range(1000)]
    times_s = iter(range(0, 100_000, 700))
    configmaps = ConfigMaps(api, "plant", QUICK, now=lambda: float(next(times_s)))
    async with applying(configmaps):
        configmaps.put(ended(correlation_id="a"), done("a"))
        await until(lambda: done.told == ["a"])
    assert (len(api.asked), configmaps.lost) == (6, 1)
    assert events(caplog) == [("configmap_unavailable", "WARNING"), ("configmap_lost", "ERROR")]
    assert "tried for 3600 s" in caplog.text


async def test_when_too_many_wait_the_oldest_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    api, done = Api(), Done()
    configmaps = ConfigMaps(api, "plant", max_waiting=2)
    for correlation_id in "abc":
        configmaps.put(ended(correlation_id=correlation_id), done(correlation_id))
    assert (done.told, configmaps.lost, configmaps.pending) == (["a"], 1, 2)
    assert events(caplog) == [("configmap_lost", "ERROR")]


async def test_the_later_of_two_runs_is_applied_last_however_slow_the_earlier_is() -> None:
    api, done = Api(), Done()
    api.gate.clear()
    configmaps = ConfigMaps(api, "plant", QUICK)
    async with applying(configmaps):
        configmaps.put(ended("Failed"), done("first"))
        await until(lambda: len(api.asked) == 1)
        configmaps.put(ended("Error"), done("second"))
        configmaps.put(ended("Succeeded"), done("third"))
        await turns()
        assert len(api.asked) == 1
        assert done.told == ["second"]
        api.gate.set()
        await until(lambda: not configmaps.pending)
    assert [configmap["data"]["result"] for _, configmap in api.applied] == ["failure", "success"]
    assert done.told == ["second", "first", "third"]


async def test_a_later_run_ends_the_retries_of_the_earlier_and_nothing_is_lost() -> None:
    api, done = Api(), Done()
    api.failures[configmap_name(CORRELATION_ID)] = [EngineUnavailable(URL, "away")]
    configmaps = ConfigMaps(api, "plant", Patience(base_s=1e6, cap_s=1e6))
    async with applying(configmaps):
        configmaps.put(ended("Failed"), done("first"))
        await until(lambda: len(api.asked) == 1)
        await turns()
        configmaps.put(ended("Succeeded"), done("second"))
        await until(lambda: done.told == ["first", "second"])
    assert [configmap["data"]["result"] for _, configmap in api.applied] == ["success"]
    assert configmaps.lost == 0


async def test_what_is_forgotten_is_neither_applied_nor_told_nor_lost(caplog: pytest.LogCaptureFixture) -> None:
    api, done = Api(), Done()
    api.gate.clear()
    ids = [f"c{number}" for number in range(8)]
    api.failures = {configmap_name(correlation_id): [EngineRefused(URL, 403, "no")] for correlation_id in ids}
    configmaps = ConfigMaps(api, "plant", QUICK)
    async with applying(configmaps):
        for correlation_id in ids:
            configmaps.put(ended(correlation_id=correlation_id), done(correlation_id))
        await until(lambda: len(api.asked) == 4)
        configmaps.clear()
        configmaps.put(ended(correlation_id="new"), done("new"))
        api.gate.set()
        await until(lambda: not configmaps.pending)
    assert [applied for applied, _ in api.applied] == [configmap_name("new")]
    assert (done.told, configmaps.lost, events(caplog)) == (["new"], 0, [])


async def test_a_workflow_that_can_have_no_configmap_is_done_at_once_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api, done = Api(), Done()
    configmaps = ConfigMaps(api, "plant")
    async with applying(configmaps):
        configmaps.put(ended(correlation_id="Night_Shift"), done("a"))
        configmaps.put(ended(correlation_id="fine"), done("fine"))
        await until(lambda: not configmaps.pending)
        configmaps.put(ended(correlation_id="Night_Shift"), done("b"))
        configmaps.put(ended(uid=""), done("c"))
    assert done.told == ["a", "fine", "b", "c"]
    assert events(caplog) == [("configmap_unnamed", "WARNING")]
