"""The rules for a whole workflow and for single templates: each with what breaks it, and with what keeps it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from edgeagent.workflows.check import workflow_check
from tests.fakes.workflow_examples import gives, one, runs, says, step, steps, takes, writes

IMAGE = {"image": "alpine:3"}
METRIC = {"name": "leaks_total", "help": "Leaks found", "counter": {"value": "1"}}
SIDECAR = {"name": "p", "ports": [{"containerPort": 1}], "resources": {"requests": {"cpu": 1}, "limits": {"cpu": 1}}}


class Case(NamedTuple):
    """`bad` has one problem, at `path`, with `reason` in its text; `good` has none."""

    bad: dict[str, Any]
    path: str
    reason: str
    good: dict[str, Any]


def given(**spec: Any) -> dict[str, Any]:
    """A workflow of one plain template with these members of its spec."""
    return one(runs(), **spec)


IDLE = [[step("a", "", inline=runs())]]


def of(**members: Any) -> dict[str, Any]:
    """A workflow of one template with these members beside its container."""
    return one(runs(**members))


def bare(**members: Any) -> dict[str, Any]:
    """A workflow of one template that has only a name and these members."""
    return one({"name": "work", **members})


def containers(*entries: dict[str, Any], **members: Any) -> dict[str, Any]:
    return bare(containerSet={"containers": [{**IMAGE, **entry} for entry in entries]}, **members)


def ref(**spec: Any) -> dict[str, Any]:
    return {"spec": {"workflowTemplateRef": {"name": "inspect"}, **spec}}


def parameter(**members: Any) -> dict[str, Any]:
    return {"parameters": [{"name": "p", **members}]}


def artifact(**members: Any) -> dict[str, Any]:
    return {"artifacts": [{"name": "f", **members}]}


def hdfs(**members: Any) -> dict[str, Any]:
    return {"addresses": ["name-node:8020"], "path": "/b", "hdfsUser": "u", **members}


# A kind of location, an incomplete one, what it needs, and one with just that.
LOCATIONS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("s3", {"bucket": "b", "endpoint": "e"}, "key", {"key": "k"}),
    ("gcs", {}, "key", {"key": "k"}),
    ("oss", {}, "key", {"key": "k"}),
    ("http", {}, "url", {"url": "https://files.example/a"}),
    ("git", {"revision": "main"}, "repo", {"repo": "https://git.example/a"}),
    ("azure", {"container": "c"}, "blob", {"blob": "b"}),
    ("plugin", {"name": "p"}, "key", {"key": "k"}),
    ("hdfs", {}, "path or addresses", {"path": "/a"}),
    ("artifactory", {"url": "https://files.example"}, "url and usernameSecret", {"url": "https://files.example/a"}),
    ("artifactory", {}, "url and usernameSecret", {"url": "https://a.example", "usernameSecret": {"key": "k"}}),
]


def plugin(container: dict[str, Any]) -> dict[str, Any]:
    return given(executorPlugins=[{"metadata": {"name": "p"}, "spec": {"sidecar": {"container": container}}}])


A, T = "spec.arguments", "spec.templates[0]"
WHOLE = [
    Case(given() | {"metadata": {"name": "a" * 64}}, "metadata.name", "63", given() | {"metadata": {"name": "a" * 63}}),
    Case(ref(templates=[runs()]), "spec.templates", "cannot stand together", ref(templates=[])),
    Case({"spec": {"workflowTemplateRef": {}}}, "spec.workflowTemplateRef.name", "is required", ref()),
    Case(given(templates=[runs(), {"container": IMAGE}]), "spec.templates[1].name", "is required", given()),
    Case(one(runs("-a")), f"{T}.name", "must be letters, digits and '-'", one(runs("9a-"))),
    Case(one(runs("a" * 129)), f"{T}.name", "at most 128", one(runs("a" * 128))),
    Case(one(runs("a{{b}}")), f"{T}.name", "must be letters", one(runs("a-b"))),
    Case(given(templates=[runs(), runs()]), "spec.templates[1].name", "an earlier one", given()),
    Case(given(entrypoint=None), "spec.entrypoint", "is required", ref()),
    Case(given(entrypoint="gone"), "spec.entrypoint", "'gone' is not among", ref(entrypoint="gone")),
    Case(given(onExit="gone"), "spec.onExit", "'gone' is not among", given(onExit="work")),
    Case(given(hooks={"late": {"template": "work"}}), "spec.hooks['late'].expression", "when the hook runs",
         given(hooks={"late": {"template": "work", "expression": "true"}, "exit": {"template": "work"}})),
    Case(given(podGC={"strategy": "Never"}), "spec.podGC.strategy", "OnPodCompletion", given(podGC={"strategy": ""})),
    Case(given(podGC={"labelSelector": {"matchLabels": {"a b": "c"}}}), "spec.podGC.labelSelector.matchLabels", "key",
         given(podGC={"labelSelector": {"matchLabels": {"example.com/a": "c"}}})),
    Case(given(podGC={"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
         "spec.podGC.labelSelector.matchExpressions[0].values", "are required",
         given(podGC={"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}})),
    Case(given(podGC={"labelSelector": {"matchExpressions": [{"key": "a", "operator": "is"}]}}),
         "spec.podGC.labelSelector.matchExpressions[0].operator", "Exists",
         given(podGC={"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}})),
    Case(given(podResources={"limits": {"gpu": 1}}), "spec.podResources.limits", "has 'gpu'",
         given(podResources={"limits": {"cpu": 1, "hugepages-2Mi": "4Mi"}, "requests": {"memory": "1Gi"}})),
    Case(given(podResources={"claims": [{"name": "a"}]}), "spec.podResources.claims", "resourceClaims",
         given(resourceClaims=[{"name": "a"}])),
    Case(plugin(SIDECAR | {"ports": []}), "spec.executorPlugins[0].spec.sidecar.container.ports", "is required",
         plugin(SIDECAR)),
]  # fmt: skip
ARGUMENTS = [
    Case(given(arguments={"parameters": [{"value": "1"}]}), f"{A}.parameters[0].name", "is required",
         given(arguments=gives(p=1))),
    Case(given(arguments={"parameters": [{"name": "a.b", "value": "1"}]}), f"{A}.parameters[0].name", "is 'a.b'",
         given(arguments={"parameters": [{"name": "_a-B9", "value": "1"}]})),
    Case(given(arguments={"parameters": [{"name": "p", "value": 1}, {"name": "p", "value": 2}]}),
         f"{A}.parameters[1].name", "earlier", given(arguments=gives(p=1, q=2))),
    Case(given(arguments=parameter()), f"{A}.parameters[0]", "needs value or valueFrom",
         given(arguments=parameter(valueFrom={"configMapKeyRef": {"name": "m", "key": "k"}}))),
    Case(given(arguments=parameter(value=None)), f"{A}.parameters[0]", "needs value",
         given(arguments=parameter(value=""))),
    Case(given(arguments=parameter(valueFrom={"path": "/a", "supplied": {}})), f"{A}.parameters[0].valueFrom.path",
         "not for arguments", given(arguments=parameter(valueFrom={"supplied": {}}))),
    Case(given(arguments=parameter(valueFrom={"default": "1"})), f"{A}.parameters[0].valueFrom", "configMapKeyRef",
         given(arguments=parameter(valueFrom={"default": "1", "event": "payload.a"}))),
    Case(given(arguments=parameter(value="a", enum=[])), f"{A}.parameters[0].enum", "at least one",
         given(arguments=parameter(value="a", enum=["a"]))),
    Case(given(arguments=parameter(value="3", enum=["1", 2])), f"{A}.parameters[0].value", "not in its enum",
         given(arguments=parameter(value=2, enum=["1", "2"]))),
    Case(given(arguments=parameter(valueFrom={"supplied": {}}, enum=["a"])), f"{A}.parameters[0].value", "enum",
         given(arguments=parameter(value="a", enum=["b", "a"]))),
    Case(given(arguments=artifact()), f"{A}.artifacts[0]", "needs from", given(arguments=artifact(raw={"data": "x"}))),
    Case(given(arguments=artifact(**{"from": "{{x}}", "fromExpression": "x"})), f"{A}.artifacts[0]", "keep one",
         given(arguments=artifact(**{"from": "{{x}}"}))),
]  # fmt: skip
TEMPLATES = [
    Case(bare(), T, "has no type", bare(suspend={})),
    Case(of(suspend={}), T, "more than one type: container, suspend", bare(suspend={}, container=None)),
    Case(bare(plugin={}), f"{T}.plugin", "exactly one member", bare(plugin={"hello": {}})),
    Case(bare(container={}), f"{T}.container.image", "is required",
         one({"name": "work", "container": {}}, templateDefaults={"container": IMAGE})),
    Case(bare(script={"source": "true"}), f"{T}.script.image", "is required", bare(script={**IMAGE, "source": "true"})),
    Case(of(inputs=artifact(path="/a", **{"from": "{{x}}"}, optional=True)), f"{T}.inputs.artifacts[0].from", "not for",
         of(inputs=artifact(path="/a", optional=True))),
    Case(of(inputs=artifact(optional=True)), f"{T}.inputs.artifacts[0].path", "is required",
         one({"name": "work", "steps": IDLE, "inputs": artifact(optional=True)})),
    Case(bare(steps=IDLE, inputs=artifact(path="/a", optional=True)), f"{T}.inputs.artifacts[0].path", "only for",
         bare(steps=IDLE, inputs=artifact(optional=True))),
    Case(of(outputs=artifact(path="/a/../b")), f"{T}.outputs.artifacts[0].path", "lead out",
         of(outputs=artifact(path="/a/../a/b"))),
    Case(of(outputs=artifact(path="/a/..")), f"{T}.outputs.artifacts[0].path", "lead out",
         of(outputs=artifact(path="/..a/b.."))),
    Case(of(inputs=artifact(path="/a", git={})), f"{T}.inputs.artifacts[0].git.repo", "is required",
         of(inputs=artifact(path="/a", git={"repo": "https://example.com/a"}))),
    Case(of(inputs=artifact(path="/a", hdfs=hdfs(path="b"))), f"{T}.inputs.artifacts[0].hdfs.path", "'/'",
         of(inputs=artifact(path="/a", hdfs=hdfs()))),
    Case(of(inputs=artifact(path="/a", hdfs=hdfs(addresses=[]))), f"{T}.inputs.artifacts[0].hdfs.addresses", "required",
         of(inputs=artifact(path="/a", hdfs=hdfs()))),
    Case(of(archiveLocation={"hdfs": hdfs(hdfsUser="")}), f"{T}.archiveLocation.hdfs", "needs hdfsUser",
         of(archiveLocation={"hdfs": hdfs()})),
    Case(of(archiveLocation={"hdfs": hdfs(krbCCacheSecret={"key": "k"}, krbServicePrincipalName="p")}),
         f"{T}.archiveLocation.hdfs.krbConfigConfigMap", "is required with krbCCacheSecret",
         of(archiveLocation={"hdfs": hdfs(krbCCacheSecret={"key": "k"}, krbServicePrincipalName="p",
                                          krbConfigConfigMap={"key": "c"})})),
    *(Case(one(runs(), arguments=artifact(**{kind: incomplete})), "spec.arguments.artifacts[0]",
           f"has no location: {kind} needs {needed}", one(runs(), arguments=artifact(**{kind: complete})))
      for kind, incomplete, needed, complete in LOCATIONS),
    Case(one(runs(inputs=takes("p"))), "spec.entrypoint", "no value for 'p'",
         one(runs(inputs=takes("p")), arguments=gives(p=1))),
    Case(given(onExit="end", templates=[runs(), runs("end", inputs=takes("p"))]), "spec.onExit", "no value for 'p'",
         given(onExit="end", templates=[runs(), runs("end", inputs=parameter(default="1"))])),
    Case(one(runs(inputs=artifact(path="/a"))), "spec.entrypoint", "no value for 'f' of inputs.artifacts",
         one(runs(inputs=artifact(path="/a", s3={"key": "k"})))),
    Case(of(outputs=parameter(value="1", valueFrom={"path": "/a"})), f"{T}.outputs.parameters[0]", "keep one",
         of(outputs=parameter(value="1"))),
    Case(of(outputs=parameter()), f"{T}.outputs.parameters[0]", "needs value", of(outputs=writes("p"))),
    Case(of(outputs=parameter(valueFrom={"path": "/a", "jsonPath": "b"})), f"{T}.outputs.parameters[0].valueFrom",
         "keep one of path, jsonPath", of(outputs=parameter(valueFrom={"path": "/a", "default": "b"}))),
    Case(of(outputs=parameter(valueFrom={"default": "1"})), f"{T}.outputs.parameters[0].valueFrom", "needs one source",
         bare(suspend={}, outputs=parameter(valueFrom={"supplied": {}}))),
    Case(of(outputs=parameter(valueFrom={"expression": "a"})), f"{T}.outputs.parameters[0].valueFrom.path", "container",
         bare(steps=IDLE, outputs=parameter(valueFrom={"expression": "a"}))),
    Case(bare(resource={"action": "get"}, outputs=parameter(valueFrom={"path": "/a"})),
         f"{T}.outputs.parameters[0].valueFrom", "jqFilter",
         bare(resource={"action": "get"}, outputs=parameter(valueFrom={"jqFilter": "."}))),
    Case(bare(steps=IDLE, outputs=parameter(valueFrom={"path": "/a"})), f"{T}.outputs.parameters[0].valueFrom", "expr",
         steps(step(), worker=runs(outputs=writes("p")),
               outputs=parameter(valueFrom={"parameter": "{{steps.a.outputs.parameters.p}}"}))),
    Case(of(outputs=parameter(value="1", globalName="a.b")), f"{T}.outputs.parameters[0].globalName", "is 'a.b'",
         of(outputs=parameter(value="1", globalName="a_b"))),
]  # fmt: skip
LEAVES = [
    Case(bare(container={**IMAGE, "volumeMounts": [{"mountPath": "/m"}, {"mountPath": "/m"}]}),
         f"{T}.container.volumeMounts[1].mountPath", "is taken",
         bare(container={**IMAGE, "volumeMounts": [{"mountPath": "/m"}, {"mountPath": "/n"}]})),
    Case(bare(container={**IMAGE, "volumeMounts": [{"mountPath": "/m"}]}, inputs=artifact(path="/m", optional=True)),
         f"{T}.inputs.artifacts[0].path", "is taken",
         bare(container={**IMAGE, "volumeMounts": [{"mountPath": "/m"}]}, inputs=artifact(path="/m/f", optional=True))),
    Case(bare(resource={"action": "make", "manifest": "a: 1"}), f"{T}.resource.action", "get, create",
         bare(resource={"action": "{{workflow.name}}"})),
    Case(bare(resource={"action": "create"}), f"{T}.resource", "needs manifest", bare(resource={"action": "delete"})),
    Case(bare(resource={"action": "apply", "manifest": "a: 1", "manifestFrom": {}}), f"{T}.resource", "keep one",
         bare(resource={"action": "apply", "manifest": "a: 1"})),
    Case(bare(resource={"action": "create", "manifestFrom": {"artifact": {"name": "g"}}},
              inputs=artifact(path="/a", optional=True)),
         f"{T}.resource.manifestFrom.artifact.name", "'g', which is not an input",
         bare(resource={"action": "create", "manifestFrom": {"artifact": {"name": "f"}}},
              inputs=artifact(path="/a", optional=True))),
    Case(bare(containerSet={"containers": []}), f"{T}.containerSet.containers", "at least one",
         containers({"name": "a"})),
    Case(containers({"name": "a"}, {"name": "a"}), f"{T}.containerSet.containers[1].name", "earlier",
         containers({"name": "a"}, {"name": "b"})),
    Case(containers({"name": "a", "dependencies": ["b"]}), f"{T}.containerSet.containers[0].dependencies", "'b'",
         containers({"name": "a", "dependencies": ["b"]}, {"name": "b"})),
    Case(containers({"name": "a", "dependencies": ["b"]}, {"name": "b", "dependencies": ["a"]}),
         f"{T}.containerSet.containers", "circle",
         containers({"name": "a"}, {"name": "b", "dependencies": ["a"]})),
    Case(containers({"name": "a"}, outputs=writes("p")), f"{T}.containerSet.containers", "named main",
         containers({"name": "main"}, outputs=writes("p"))),
    Case(containers({"name": "wait"}), f"{T}.containerSet.containers[0].name", "engine's own",
         containers({"name": "waits"})),
    Case(of(sidecars=[{"name": "artifact-plugin-a", **IMAGE}]), f"{T}.sidecars[0].name", "engine's own",
         of(sidecars=[{"name": "db", **IMAGE}])),
    Case(of(initContainers=[IMAGE]), f"{T}.initContainers[0].name", "is required",
         of(initContainers=[{"name": "a", **IMAGE}])),
    Case(of(activeDeadlineSeconds=-1), f"{T}.activeDeadlineSeconds", "number of seconds", of(activeDeadlineSeconds=0)),
    Case(of(activeDeadlineSeconds="soon"), f"{T}.activeDeadlineSeconds", "is 'soon'",
         of(activeDeadlineSeconds="{{workflow.name}}")),
    Case(bare(steps=IDLE, activeDeadlineSeconds=9), f"{T}.activeDeadlineSeconds", "not for steps",
         of(activeDeadlineSeconds="9")),
    Case(of(parallelism=2), f"{T}.parallelism", "only for steps and dag", bare(steps=IDLE, parallelism=2)),
    Case(of(timeout="10"), f"{T}.timeout", 'such as "10s"', of(timeout="10s")),
    Case(bare(steps=IDLE, timeout="10s"), f"{T}.timeout", "not for steps", of(timeout="")),
    Case(bare(steps=IDLE, pendingTimeout="10s"), f"{T}.pendingTimeout", "not for steps", of(pendingTimeout="10s")),
    Case(of(retryStrategy={"retryPolicy": "Never"}), f"{T}.retryStrategy.retryPolicy", "OnTransientError",
         of(retryStrategy={"retryPolicy": "OnError", "limit": "2"})),
    Case(of(metrics={"prometheus": [METRIC | {"name": "a-b"}]}), f"{T}.metrics.prometheus[0].name", "is 'a-b'",
         of(metrics={"prometheus": [METRIC]})),
    Case(of(metrics={"prometheus": [METRIC | {"labels": [{"key": "1a", "value": "b"}]}]}),
         f"{T}.metrics.prometheus[0].labels[0].key", "is '1a'",
         of(metrics={"prometheus": [METRIC | {"labels": [{"key": "_a", "value": "b"}]}]})),
    Case(of(metrics={"prometheus": [METRIC | {"help": ""}]}), f"{T}.metrics.prometheus[0].help", "is required",
         of(metrics={"prometheus": [METRIC | {"help": "a"}]})),
    Case(of(metrics={"prometheus": [METRIC | {"counter": {}}]}), f"{T}.metrics.prometheus[0].counter.value", "required",
         of(metrics={"prometheus": [METRIC | {"counter": None, "gauge": {"value": "{{duration}}"}}]})),
    Case(of(metrics={"prometheus": [METRIC | {"gauge": {"realtime": True, "value": "{{resourcesDuration.cpu}}"}}]}),
         f"{T}.metrics.prometheus[0].gauge.value", "realtime",
         of(metrics={"prometheus": [METRIC | {"gauge": {"value": "{{resourcesDuration.cpu}}"}}]})),
    Case(bare(http={"url": "u"}, podResources={"limits": {"cpu": 1}}), f"{T}.podResources", "not for http",
         of(podResources={"limits": {"cpu": 1}})),
    Case(bare(steps=IDLE, resourceClaims=[{"name": "a"}]), f"{T}.resourceClaims", "not for steps",
         of(resourceClaims=[{"name": "a"}])),
]  # fmt: skip
CASES = WHOLE + ARGUMENTS + TEMPLATES + LEAVES


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.path} {case.reason}")
def test_what_breaks_a_rule_is_told_by_its_place_and_its_reason(case: Case) -> None:
    ((path, reason),) = workflow_check(case.bad)
    assert path == case.path
    assert case.reason in reason


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.path} {case.reason}")
def test_what_keeps_the_same_rule_passes(case: Case) -> None:
    assert list(workflow_check(case.good)) == []


def test_everything_wrong_is_told_at_once() -> None:
    workflow = steps(step("a", "gone"), step("a"), worker=says("{{inputs.parameters.p}}"))
    assert [path for path, _ in workflow_check(workflow)] == [
        "spec.templates[0].steps[1][0].name",
        "spec.templates[0].steps[0][0].template",
        "spec.templates[1].container.args[0]",
    ]


@pytest.mark.parametrize(
    "workflow",
    [
        steps(step(template="main")),  # recursion
        bare(suspend={}) | {"kind": "CronWorkflow", "apiVersion": "v0"},
        of(notYetInvented={"a": ["{{inputs.parameters.gone}}"]}),
        given() | {"metadata": {"name": "Bad_Name"}, "status": {"phase": 5}},
        ref(arguments=gives(anything=1), entrypoint="theirs", onExit="theirs", hooks={"exit": {"template": "theirs"}}),
    ],
)
def test_what_argo_does_not_mind_is_not_minded(workflow: dict[str, Any]) -> None:
    assert list(workflow_check(workflow)) == []
