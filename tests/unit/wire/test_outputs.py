"""A workflow's outputs on their way back: from the rule's names to the report of a device."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from edgeagent.argo.wire import Workflow
from edgeagent.common.elapsed import Instant
from edgeagent.dispatcher.progress import outputs_left_out, status_of
from edgeagent.ports.deliveries import WebhookDelivery
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import RuleSpec
from edgeagent.webhooks.form import AgentReports, WebhookForm
from edgeagent.wire.lifecycle import Life, progressed
from edgeagent.wire.messages import ANNOTATION_OUTPUTS, Report, State, Status, parse_status
from edgeagent.wire.outputs import (
    MAX_OUTPUT_BYTES,
    MAX_OUTPUT_NAME_CHARS,
    MAX_OUTPUTS,
    MAX_OUTPUTS_BYTES,
    bounded_outputs,
    names_asked,
    outputs_asked,
)

names = st.text("abcXYZ019-_", min_size=1, max_size=MAX_OUTPUT_NAME_CHARS)
RUN, LATER = "2026-03-20T11:00:00Z", "2026-03-20T12:00:00Z"


def workflow(asked: str, *outputs: tuple[str, object], phase: str = "Succeeded", copy: bool = False) -> Workflow:
    """A workflow as Argo tells of it."""
    labels = {"edgeagent.io/agent": "gw-1", "edgeagent.io/correlation-id": "9f2c"}
    labels |= {"workflows.argoproj.io/resubmitted-from-workflow": "x"} if copy else {}
    annotations = {"edgeagent.io/outputs": asked, "kubectl.kubernetes.io/other": "x"} if asked else None
    parameters = [{"name": name, "value": value} for name, value in outputs]
    return msgspec.json.decode(
        msgspec.json.encode(
            {
                "metadata": {"name": "w", "namespace": "plant", "labels": labels, "annotations": annotations},
                "status": {"phase": phase, "startedAt": RUN, "outputs": {"parameters": parameters}},
            }
        ),
        type=Workflow,
    )


def outputs_of(found: Workflow) -> dict[str, str]:
    status = status_of("plant", found)
    assert status is not None
    return status.outputs


@given(st.lists(names, unique=True, max_size=MAX_OUTPUTS))
def test_the_names_come_back_out_of_the_annotation(asked: list[str]) -> None:
    assert names_asked(outputs_asked(asked)) == asked


@given(st.text(max_size=2000))
def test_any_annotation_asks_for_few_short_names(text: str) -> None:
    asked = names_asked(text)
    assert len(asked) == len(set(asked)) <= MAX_OUTPUTS
    assert all(1 <= len(name) <= MAX_OUTPUT_NAME_CHARS for name in asked)


@given(st.lists(st.tuples(st.text(max_size=80), st.one_of(st.text(max_size=50), st.just("ä" * 2048)))))
def test_what_is_kept_is_within_its_bounds_and_unchanged(values: list[tuple[str, str]]) -> None:
    kept = bounded_outputs(values)
    assert len(kept) <= MAX_OUTPUTS
    assert sum(len(name.encode()) + len(value.encode()) for name, value in kept.items()) <= MAX_OUTPUTS_BYTES
    assert all((name, value) in values for name, value in kept.items())


def test_one_that_is_too_large_is_left_out_whole_and_the_others_stay() -> None:
    large = "x" * (MAX_OUTPUT_BYTES + 1)
    assert bounded_outputs([("a", large), ("b", large[1:]), ("c", "y" * 4000), ("d", "z" * 4000)]) == {
        "b": large[1:],
        "c": "y" * 4000,
    }


def test_a_final_status_has_the_outputs_that_were_asked_for_as_texts() -> None:
    given = (("result", "leak"), ("score", 0.5), ("found", {"at": [1]}), ("none", None), ("secret", "x"))
    asked = "result,score,found,none,absent"
    assert outputs_of(workflow(asked, *given)) == {"result": "leak", "score": "0.5", "found": '{"at":[1]}'}
    assert outputs_of(workflow(asked, *given, phase="Failed")).keys() == {"result", "score", "found"}
    assert outputs_of(workflow(asked, *given, phase="Running")) == {}
    assert outputs_of(workflow(asked, *given, copy=True)) == {}
    assert outputs_of(workflow("", *given)) == {}


def test_an_output_that_does_not_fit_is_named() -> None:
    found = workflow("result,report", ("result", "leak"), ("report", "x" * 5000))
    status = status_of("plant", found)
    assert status is not None
    assert status.outputs == {"result": "leak"}
    assert outputs_left_out(found, status) == ["report"]


def test_a_status_without_outputs_looks_as_ever() -> None:
    assert b"outputs" not in msgspec.json.encode(Status("plant", "w", "Running"))
    report = Report("9f2c", "7", "boiler-1", "overheat", State.RUNNING, "now")
    assert b"outputs" not in msgspec.json.encode(report)


def test_a_status_from_elsewhere_loses_no_more_than_what_breaks_a_bound() -> None:
    payload = {"namespace": "plant", "workflowId": "w", "status": "Succeeded"}
    outputs = {"result": "leak", "large": "x" * 5000, "n" * 64: "x"}
    status = parse_status(msgspec.json.encode(payload | {"outputs": outputs}))
    assert (status.status, status.outputs) == ("Succeeded", {"result": "leak"})


def test_the_report_has_them_until_the_workflow_runs_again() -> None:
    life = Life(Report("9f2c", "7", "boiler-1", "overheat", State.RUNNING, "before", "w", "plant"), 1_000, RUN)
    status = Status("plant", "w", "Failed", started_at=RUN, outputs={"result": "leak"})
    ended = progressed(life, status, "now")
    assert ended is not None
    assert ended.report.outputs == {"result": "leak"}
    assert progressed(ended, status, "later") is None
    # Another dispatcher, of an earlier version, says that it ended, and nothing else: what is known stays.
    assert progressed(ended, Status("plant", "w", "Failed", started_at=RUN), "later") is None
    again = progressed(ended, Status("plant", "w", "Running", started_at=LATER), "later")
    assert again is not None
    assert again.report.outputs is UNSET


def test_a_rule_asks_by_an_annotation_of_its_workflow_and_keeps_those_of_its_text() -> None:
    inline = {"metadata": {"annotations": {"team": "north"}}, "spec": {"workflowTemplateRef": {"name": "inspect"}}}
    for text, more in (({"template": "inspect"}, {}), ({"workflow": inline}, {"team": "north"})):
        rule = Rule(msgspec.convert({"name": "r", "namespace": "plant", "outputs": ["a", "b-c"]} | text, RuleSpec))
        annotations = rule.workflow("w", {}, {}, [])["metadata"]["annotations"]
        assert annotations == more | {ANNOTATION_OUTPUTS: "a,b-c"}
    plain = Rule(msgspec.convert({"name": "r", "namespace": "plant", "template": "inspect"}, RuleSpec))
    assert plain.workflow("w", {}, {}, [])["metadata"]["annotations"] == {}


def test_a_webhooks_own_body_has_them_as_json_in_a_text() -> None:
    report = Report("9f2c", "7", "boiler-1", "overheat", State.SUCCEEDED, RUN, outputs={"result": 'a "leak"'})
    delivery = WebhookDelivery(1, "9f2c", "succeeded", Instant(0, 0, b""), msgspec.json.encode(report))
    sent = WebhookForm(AgentReports("gw-1"), '{"text": "{state}: {outputs}"}').request(delivery, [], 0)
    assert msgspec.json.decode(sent.body) == {"text": 'succeeded: {"result":"a \\"leak\\""}'}
