"""The types of a workflow's members, as far as Argo's decoder insists on them.

Argo decodes a workflow before it looks at it: one number where a text belongs, and the whole is refused. Members that
it does not know are dropped without a word, and `null` is as good as nothing.

Each structure below is a text `kind: members; kind: members`. A kind is one of the plain ones in `_PLAIN`, the name of
another structure, or one of those in brackets: `[kind]` is a list, `{kind}` an object with any member names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edgeagent.core.workflow_names import Finding

_CONTAINER = """
    text: name image imagePullPolicy workingDir terminationMessagePath terminationMessagePolicy restartPolicy;
    [text]: command args; [object]: envFrom ports resizePolicy volumeDevices; [Env]: env; [Mount]: volumeMounts;
    bool: stdin stdinOnce tty; Resources: resources;
    object: lifecycle livenessProbe readinessProbe startupProbe securityContext
"""
_CALL = """
    text: name template when withParam onExit; TemplateRef: templateRef; Template: inline; Arguments: arguments;
    [any]: withItems; Sequence: withSequence; ContinueOn: continueOn; {Hook}: hooks
"""
_LOCATION = "object: s3 http artifactory raw oss gcs azure plugin; Git: git; Hdfs: hdfs; bool: archiveLogs"
_PARAMETER = "text: name globalName; any: description default; [any]: enum; ValueFrom: valueFrom"
_ARTIFACT = f"""
    {_LOCATION}; text: name path from fromExpression subPath globalName; int: mode; bool: optional recurseMode;
    object: archive artifactGC
"""

_TEXTS: dict[str, str] = {
    "Workflow": "text: apiVersion kind; Metadata: metadata; Spec: spec",
    "Metadata": "text: name generateName namespace; {text}: labels annotations; [text]: finalizers",
    "Spec": """
        text: entrypoint serviceAccountName dnsPolicy onExit schedulerName podPriorityClassName podSpecPatch shutdown;
        bool: automountServiceAccountToken suspend hostNetwork archiveLogs;
        int: parallelism activeDeadlineSeconds priority; [Template]: templates; Template: templateDefaults;
        Arguments: arguments; TemplateRefOfAll: workflowTemplateRef; TtlStrategy: ttlStrategy; PodGc: podGC;
        Retry: retryStrategy; {Hook}: hooks; WorkflowMetadata: workflowMetadata; PodMetadata: podMetadata;
        Metrics: metrics; Resources: podResources; [Plugin]: executorPlugins; {text}: nodeSelector;
        [object]: volumes volumeClaimTemplates tolerations imagePullSecrets hostAliases resourceClaims;
        object: executor artifactRepositoryRef affinity dnsConfig securityContext podDisruptionBudget synchronization
            volumeClaimGC artifactGC
    """,
    "Template": """
        text: name timeout pendingTimeout schedulerName priorityClassName serviceAccountName podSpecPatch;
        bool: daemon failFast automountServiceAccountToken; int: parallelism; int or text: activeDeadlineSeconds;
        Inputs: inputs; Outputs: outputs; PodMetadata: metadata; Container: container; ContainerSet: containerSet;
        Script: script; Resource: resource; Dag: dag; [[Step]]: steps; Suspend: suspend; Http: http;
        object: data plugin affinity executor securityContext synchronization memoize;
        [SideContainer]: initContainers sidecars; Location: archiveLocation; Retry: retryStrategy; Metrics: metrics;
        Resources: podResources; [object]: volumes tolerations hostAliases resourceClaims;
        {text}: nodeSelector annotations
    """,
    "Step": _CALL,
    "Task": f"{_CALL}; text: depends; [text]: dependencies",
    "Dag": "text: target; bool: failFast; [Task]: tasks",
    "Hook": "text: template expression; TemplateRef: templateRef; Arguments: arguments",
    "TemplateRef": "text: name template; bool: clusterScope",
    "TemplateRefOfAll": "text: name; bool: clusterScope",
    "Sequence": "int or text: count start end; text: format",
    "ContinueOn": "bool: error failed",
    "Arguments": "[Parameter]: parameters; [Artifact]: artifacts",
    "Inputs": "[InputParameter]: parameters; [Artifact]: artifacts",
    "Outputs": "[Parameter]: parameters; [Artifact]: artifacts; text: result exitCode",
    "Parameter": f"{_PARAMETER}; any: value",
    # What a caller gives takes the place of an input's value before Argo looks at the variables in it.
    "InputParameter": f"{_PARAMETER}; unread: value",
    "ValueFrom": "text: path jsonPath jqFilter event parameter expression; any: default; object: configMapKeyRef "
    "supplied",
    "Artifact": _ARTIFACT,
    "Location": _LOCATION,
    "Git": "text: repo revision branch; int: depth; [text]: fetch; bool: disableSubmodules insecureIgnoreHostKey "
    "insecureSkipTLS singleBranch; object: usernameSecret passwordSecret sshPrivateKeySecret",
    "Hdfs": "[text]: addresses; bool: force; text: path hdfsUser dataTransferProtection krbRealm krbUsername "
    "krbServicePrincipalName; object: krbCCacheSecret krbKeytabSecret krbConfigConfigMap",
    "Container": _CONTAINER,
    "SideContainer": f"{_CONTAINER}; bool: mirrorVolumeMounts",
    "Script": f"{_CONTAINER}; text: source",
    "ContainerSet": "[Node]: containers; [Mount]: volumeMounts; object: retryStrategy",
    "Node": f"{_CONTAINER}; [text]: dependencies",
    "Env": "text: name value; object: valueFrom",
    "Mount": "text: name mountPath subPath subPathExpr mountPropagation recursiveReadOnly; bool: readOnly",
    "Resources": "[object]: claims; {any}: limits requests",
    "Resource": "text: action manifest mergeStrategy successCondition failureCondition; [text]: flags; "
    "bool: setOwnerReference; ManifestFrom: manifestFrom",
    "ManifestFrom": "Artifact: artifact",
    "Suspend": "text: duration",
    "Http": "text: method url body successCondition; [object]: headers; int: timeoutSeconds; "
    "bool: insecureSkipVerify; object: bodyFrom",
    "Retry": "text: retryPolicy expression; int or text: limit; Backoff: backoff; object: affinity",
    "Backoff": "text: duration maxDuration cap; int or text: factor",
    "Metrics": "[Metric]: prometheus",
    "Metric": "text: name help when; [MetricLabel]: labels; Gauge: gauge; Count: counter; Histogram: histogram",
    "MetricLabel": "text: key value",
    "Gauge": "text: value operation; bool: realtime",
    "Count": "text: value",
    "Histogram": "text: value; [any]: buckets",
    "PodMetadata": "{text}: labels annotations",
    "WorkflowMetadata": "{text}: labels annotations; {object}: labelsFrom",
    "TtlStrategy": "int: secondsAfterCompletion secondsAfterSuccess secondsAfterFailure",
    "PodGc": "text: strategy deleteDelayDuration; LabelSelector: labelSelector",
    "LabelSelector": "{text}: matchLabels; [Requirement]: matchExpressions",
    "Requirement": "text: key operator; [text]: values",
    "Plugin": "PluginMetadata: metadata; PluginSpec: spec",
    "PluginMetadata": "text: name",
    "PluginSpec": "Sidecar: sidecar",
    "Sidecar": "bool: automountServiceAccountToken; Container: container",
}  # fmt: skip
_INT_LIMIT = 1 << 63


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_INT_LIMIT <= value < _INT_LIMIT


_PLAIN: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "any": ("anything", lambda _: True),
    "unread": ("anything", lambda _: True),
    "text": ("a text", lambda value: isinstance(value, str)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "int": ("a whole number", _is_int),
    "int or text": ("a whole number or a text", lambda value: isinstance(value, str) or _is_int(value)),
    "object": ("an object", lambda value: isinstance(value, dict)),
}


def _members(text: str) -> dict[str, str]:
    parts = (part.split(":") for part in text.split(";"))
    return {name: kind.strip() for kind, names in parts for name in names.split()}


_STRUCTS = {struct: _members(text) for struct, text in _TEXTS.items()}
_SPELLINGS = {struct: {name.casefold(): name for name in members} for struct, members in _STRUCTS.items()}


def type_problems(value: Any, kind: str, path: str) -> Iterator[Finding]:
    """Members of the wrong type, and those that Argo would take for a known one although they are written otherwise.

    Args:
        value: JSON that is nested no deeper than Python may recurse.
        kind: what it should be: `Workflow`, or one of the other kinds.
        path: its key path.
    """
    if value is None:
        return
    if kind in _PLAIN:
        expected, fits = _PLAIN[kind]
        if not fits(value):
            yield path, f"must be {expected}, is {_json_type(value)}"
    elif kind[0] == "[":
        yield from _list_problems(value, kind[1:-1], path)
    elif not isinstance(value, dict):
        yield path, f"must be an object, is {_json_type(value)}"
    elif kind[0] == "{":
        for name, item in value.items():
            yield from type_problems(item, kind[1:-1], f"{path}[{name!r}]")
    else:
        yield from _struct_problems(value, kind, path)


def _list_problems(value: Any, kind: str, path: str) -> Iterator[Finding]:
    if not isinstance(value, list):
        yield path, f"must be {'a list of lists' if kind[0] == '[' else 'a list'}, is {_json_type(value)}"
        return
    for index, item in enumerate(value):
        yield from type_problems(item, kind, f"{path}[{index}]")


def _struct_problems(value: dict[str, Any], kind: str, path: str) -> Iterator[Finding]:
    for name, item in value.items():
        right = _SPELLINGS[kind].get(name.casefold())
        if right == name:
            yield from type_problems(item, _STRUCTS[kind][name], join(path, name))
        elif right is not None:
            yield join(path, name), f"must be written {right}: the engine would take it for that"


def texts(value: Any, kind: str, path: str) -> Iterator[tuple[str, str]]:
    """Every text that Argo keeps of a value, with its key path: those in unknown members it drops.

    Args:
        value: JSON without `type_problems`, nested no deeper than Python may recurse.
        kind: what it is.
        path: its key path.
    """
    if kind == "unread":
        return
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts(item, _inner(kind, "["), f"{path}[{index}]")
    elif isinstance(value, dict):
        members = _STRUCTS.get(kind)
        for name, item in value.items():
            if members is None:
                yield path, name
                yield from texts(item, _inner(kind, "{"), f"{path}[{name!r}]")
            elif name in members:
                yield from texts(item, members[name], join(path, name))


def _inner(kind: str, bracket: str) -> str:
    """The kind of what is in a list or an object; a plain kind is the same all the way down."""
    return kind[1:-1] if kind[0] == bracket else kind


def join(path: str, name: str) -> str:
    """The key path of a member."""
    return f"{path}.{name}" if path else name


def _json_type(value: Any) -> str:
    if isinstance(value, float):
        return f"the number {value!r}"
    types = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number"}
    return types.get(type(value), "something that JSON does not have")
