"""The types of a workflow's members, as far as Argo's decoder insists on them.

Argo decodes a workflow before it validates it, and refuses the whole of it over one number where a text belongs. It
drops unknown members silently, and `null` counts as absent.

Each structure below is a text `kind: members; kind: members`. A kind is one of the plain ones in `_PLAIN`, the name of
another structure, or one of those in brackets: `[kind]` is a list, `{kind}` an object with any member names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from edgeagent.workflows.names import Finding, quoted
from edgeagent.workflows.types_pod import TEXTS as POD_TEXTS

_CONTAINER = """
    text: name image imagePullPolicy workingDir terminationMessagePath terminationMessagePolicy restartPolicy;
    [text]: command args; [EnvFromSource]: envFrom; [ContainerPort]: ports; [ContainerResizePolicy]: resizePolicy;
    [ContainerRestartRule]: restartPolicyRules; [VolumeDevice]: volumeDevices; [Env]: env; [Mount]: volumeMounts;
    bool: stdin stdinOnce tty; Resources: resources; Lifecycle: lifecycle; SecurityContext: securityContext;
    Probe: livenessProbe readinessProbe startupProbe
"""
_CALL = """
    text: name template when withParam onExit; TemplateRef: templateRef; Template: inline; Arguments: arguments;
    [any]: withItems; Sequence: withSequence; ContinueOn: continueOn; {Hook}: hooks
"""
_LOCATION = """
    S3: s3; HttpFile: http; Artifactory: artifactory; Raw: raw; Oss: oss; Gcs: gcs; Azure: azure; PluginFile: plugin;
    Git: git; Hdfs: hdfs; bool: archiveLogs
"""
_ARTIFACT = f"""
    {_LOCATION}; text: name path from fromExpression subPath globalName; int: mode; bool: optional recurseMode deleted;
    Archive: archive; ArtifactGc: artifactGC
"""

_TEXTS: dict[str, str] = {
    "Workflow": "text: apiVersion kind; Metadata: metadata; Spec: spec",
    "Metadata": """
        text: name generateName namespace resourceVersion selfLink uid; {text}: labels annotations; [text]: finalizers;
        time: creationTimestamp deletionTimestamp; int: deletionGracePeriodSeconds generation;
        [ManagedFieldsEntry]: managedFields; [OwnerReference]: ownerReferences
    """,
    "Spec": """
        text: entrypoint serviceAccountName dnsPolicy onExit schedulerName podPriorityClassName podSpecPatch shutdown;
        bool: automountServiceAccountToken suspend hostNetwork archiveLogs;
        int: parallelism activeDeadlineSeconds priority; [Template]: templates; Template: templateDefaults;
        Arguments: arguments; TemplateRefOfAll: workflowTemplateRef; TtlStrategy: ttlStrategy; PodGc: podGC;
        Retry: retryStrategy; {Hook}: hooks; WorkflowMetadata: workflowMetadata; PodMetadata: podMetadata;
        Metrics: metrics; Resources: podResources; [Plugin]: executorPlugins; {text}: nodeSelector;
        [Volume]: volumes; [Claim]: volumeClaimTemplates; [Toleration]: tolerations; [Named]: imagePullSecrets;
        [HostAlias]: hostAliases; [PodResourceClaim]: resourceClaims; Executor: executor; Affinity: affinity;
        Repository: artifactRepositoryRef; DnsConfig: dnsConfig; PodSecurityContext: securityContext;
        PodDisruptionBudgetSpec: podDisruptionBudget; Synchronization: synchronization; ClaimGc: volumeClaimGC;
        ArtifactGcOfAll: artifactGC
    """,
    "Template": """
        text: name timeout pendingTimeout schedulerName priorityClassName serviceAccountName podSpecPatch;
        bool: daemon failFast automountServiceAccountToken; int: parallelism; int or text: activeDeadlineSeconds;
        Inputs: inputs; Outputs: outputs; PodMetadata: metadata; Container: container; ContainerSet: containerSet;
        Script: script; Resource: resource; Dag: dag; [[Step]]: steps; Suspend: suspend; Http: http;
        Data: data; object: plugin; Affinity: affinity; Executor: executor; PodSecurityContext: securityContext;
        Synchronization: synchronization; Memoize: memoize;
        [SideContainer]: initContainers sidecars; Location: archiveLocation; Retry: retryStrategy; Metrics: metrics;
        Resources: podResources; [Volume]: volumes; [Toleration]: tolerations; [HostAlias]: hostAliases;
        [PodResourceClaim]: resourceClaims;
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
    "Inputs": "[Parameter]: parameters; [Artifact]: artifacts",
    "Outputs": "[Parameter]: parameters; [Artifact]: artifacts; text: result exitCode",
    "Parameter": "text: name globalName; any: description default value; [any]: enum; ValueFrom: valueFrom",
    "ValueFrom": "text: path jsonPath jqFilter event parameter expression; any: default; KeyOf: configMapKeyRef; "
    "object: supplied",
    "Artifact": _ARTIFACT,
    "Location": _LOCATION,
    "Git": "text: repo revision branch; count: depth; [text]: fetch; bool: disableSubmodules insecureIgnoreHostKey "
    "insecureSkipTLS singleBranch; KeyOf: usernameSecret passwordSecret sshPrivateKeySecret",
    "Hdfs": "[text]: addresses; bool: force; text: path hdfsUser dataTransferProtection krbRealm krbUsername "
    "krbServicePrincipalName; KeyOf: krbCCacheSecret krbKeytabSecret krbConfigConfigMap",
    "S3": """
        text: endpoint bucket region roleARN key addressingStyle; bool: insecure useSDKCreds;
        KeyOf: accessKeySecret secretKeySecret sessionTokenSecret caSecret; NewBucket: createBucketIfNotPresent;
        Encryption: encryptionOptions
    """,
    "NewBucket": "bool: objectLocking",
    "Encryption": "bool: enableEncryption; text: kmsKeyId kmsEncryptionContext; KeyOf: serverSideCustomerKeySecret",
    "HttpFile": "text: url; [Pair]: headers; HttpAuth: auth; bool: saveStreamViaFile",
    "HttpAuth": "Basic: basicAuth; ClientCert: clientCert; OAuth: oauth2",
    "Basic": "KeyOf: usernameSecret passwordSecret",
    "ClientCert": "KeyOf: clientCertSecret clientKeySecret",
    "OAuth": "KeyOf: clientIDSecret clientSecretSecret tokenURLSecret; [text]: scopes; [OAuthPair]: endpointParams",
    "OAuthPair": "text: key value",
    "Artifactory": "text: url; KeyOf: usernameSecret passwordSecret",
    "Raw": "text: data",
    "Oss": "text: endpoint bucket key securityToken; bool: createBucketIfNotPresent useSDKCreds; "
    "KeyOf: accessKeySecret secretKeySecret; OssLifecycle: lifecycleRule",
    "OssLifecycle": "int: markInfrequentAccessAfterDays markDeletionAfterDays",
    "Gcs": "text: bucket key; KeyOf: serviceAccountKeySecret",
    "Azure": "text: endpoint container blob; bool: useSDKCreds; KeyOf: accountKeySecret",
    "PluginFile": "text: name configuration key; int: connectionTimeoutSeconds",
    "Archive": "object: none zip; Tar: tar",
    "Tar": "int: compressionLevel",
    "ArtifactGc": "text: strategy serviceAccountName; PodMetadata: podMetadata",
    "ArtifactGcOfAll": "text: strategy serviceAccountName podSpecPatch; PodMetadata: podMetadata; "
    "bool: forceFinalizerRemoval",
    "Repository": "text: configMap key",
    "Executor": "text: serviceAccountName",
    "ClaimGc": "text: strategy",
    "Synchronization": "[Mutex]: mutexes; [Semaphore]: semaphores",
    "Mutex": "text: name namespace; bool: database",
    "Semaphore": "text: namespace; KeyOf: configMapKeyRef; SemaphoreKey: database",
    "SemaphoreKey": "text: key",
    "Memoize": "text: key maxAge; Cache: cache",
    "Cache": "Named: configMap",
    "Data": "DataSource: source; [Transformation]: transformation",
    "DataSource": "ArtifactPaths: artifactPaths",
    "ArtifactPaths": _ARTIFACT,
    "Transformation": "text: expression",
    "Container": _CONTAINER,
    "SideContainer": f"{_CONTAINER}; bool: mirrorVolumeMounts",
    "Script": f"{_CONTAINER}; text: source",
    "ContainerSet": "[Node]: containers; [Mount]: volumeMounts; SetRetry: retryStrategy",
    "SetRetry": "text: duration; int or text: retries",
    "Node": f"{_CONTAINER}; [text]: dependencies",
    "Env": "text: name value; EnvSource: valueFrom",
    "Mount": "text: name mountPath subPath subPathExpr mountPropagation recursiveReadOnly; bool: readOnly",
    "Resources": "[ResourceClaim]: claims; {quantity}: limits requests",
    "Resource": "text: action manifest mergeStrategy successCondition failureCondition; [text]: flags; "
    "bool: setOwnerReference; ManifestFrom: manifestFrom",
    "ManifestFrom": "Artifact: artifact",
    "Suspend": "text: duration",
    "Http": "text: method url body successCondition; [HttpHeader]: headers; int: timeoutSeconds; "
    "bool: insecureSkipVerify; Body: bodyFrom",
    "Body": "base64: bytes",
    "HttpHeader": "text: name value; HttpHeaderSource: valueFrom",
    "HttpHeaderSource": "KeyOf: secretKeyRef",
    "Retry": "text: retryPolicy expression; int or text: limit; Backoff: backoff; RetryAffinity: affinity",
    "RetryAffinity": "object: nodeAntiAffinity",
    "Backoff": "text: duration maxDuration cap; int or text: factor",
    "Metrics": "[Metric]: prometheus",
    "Metric": "text: name help when; [MetricLabel]: labels; Gauge: gauge; Count: counter; Histogram: histogram",
    "MetricLabel": "text: key value",
    "Gauge": "text: value operation; bool: realtime",
    "Count": "text: value",
    "Histogram": "text: value; [any]: buckets",
    "PodMetadata": "{text}: labels annotations",
    "WorkflowMetadata": "{text}: labels annotations; {LabelFrom}: labelsFrom",
    "LabelFrom": "text: expression",
    "TtlStrategy": "int: secondsAfterCompletion secondsAfterSuccess secondsAfterFailure",
    "PodGc": "text: strategy deleteDelayDuration; LabelSelector: labelSelector",
    "LabelSelector": "{text}: matchLabels; [Requirement]: matchExpressions",
    "Requirement": "text: key operator; [text]: values",
    "Plugin": "Metadata: metadata; PluginSpec: spec",
    "PluginSpec": "Sidecar: sidecar",
    "Sidecar": "bool: automountServiceAccountToken; Container: container",
}  # fmt: skip
_INT_LIMIT = 1 << 63
# An amount in Kubernetes: `1`, `0.5`, `500m`, `64Mi`, `64M`, `1e3`; not `64MB`.
_QUANTITY = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?", re.ASCII)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", re.ASCII)
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_INT_LIMIT <= value < _INT_LIMIT


def _is_quantity(value: Any) -> bool:
    if isinstance(value, str):
        return _QUANTITY.fullmatch(value.strip()) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_base64(value: Any) -> bool:
    if isinstance(value, str):
        return _BASE64.fullmatch(value.replace("\r", "").replace("\n", "")) is not None
    return isinstance(value, list)  # of bytes, as in Go


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


_PLAIN: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "any": ("anything", lambda _: True),
    "text": ("a text", lambda value: isinstance(value, str)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "int": ("a whole number", _is_int),
    "int or text": ("a whole number or a text", lambda value: isinstance(value, str) or _is_int(value)),
    "object": ("an object", lambda value: isinstance(value, dict)),
    "count": ("a whole number from 0", lambda value: _is_int(value) and value >= 0),
    "base64": ("a text in base64", _is_base64),
    "quantity": ("an amount such as 500m, 64Mi or 64M", _is_quantity),
    "time": ("a time such as 2026-07-01T12:00:00Z", _is_time),
}


_WRITTEN = frozenset({"quantity", "time", "base64"})  # texts of these kinds may have the wrong form


def _members(text: str) -> dict[str, str]:
    parts = (part.split(":") for part in text.split(";"))
    return {name: kind.strip() for kind, names in parts for name in names.split()}


# Read when they are asked for: one workflow has few of the structures, and all of them take 0.3 MiB.
@cache
def _struct(kind: str) -> dict[str, str]:
    """The members of a structure, and the kind of each."""
    return _members(_TEXTS.get(kind) or POD_TEXTS[kind])


@cache
def _spellings(kind: str) -> dict[str, str]:
    return {name.casefold(): name for name in _struct(kind)}


def type_problems(value: Any, kind: str, path: str) -> Iterator[Finding]:
    """Yield members of the wrong type, and misspelled ones that Argo would take for a known one.

    Args:
        value: JSON nested no deeper than Python may recurse.
        kind: what it should be: `Workflow`, or one of the other kinds.
        path: its key path.
    """
    if value is None:
        return
    if kind in _PLAIN:
        expected, fits = _PLAIN[kind]
        if not fits(value):
            given = quoted(value) if kind in _WRITTEN and isinstance(value, str) else _json_type(value)
            yield path, f"must be {expected}, is {given}"
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
        right = _spellings(kind).get(name.casefold())
        if right == name:
            yield from type_problems(item, _struct(kind)[name], join(path, name))
        elif right is not None:
            yield join(path, name), f"must be written {right}: the engine would take it for that"
        elif kind == "Step":  # only here Argo's decoder knows every member, and refuses any other
            yield join(path, name), f"is not a member of a step (known: {', '.join(_struct(kind))})"


def texts(value: Any, kind: str, path: str) -> Iterator[tuple[str, str]]:
    """Every text of a value that Argo keeps, with its key path; Argo drops those in unknown members.

    Args:
        value: JSON without `type_problems`, nested no deeper than Python may recurse.
        kind: what it is.
        path: its key path.
    """
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts(item, _inner(kind, "["), f"{path}[{index}]")
    elif isinstance(value, dict):
        members = _struct(kind) if kind in _TEXTS or kind in POD_TEXTS else None
        for name, item in value.items():
            if members is None:
                yield path, name
                yield from texts(item, _inner(kind, "{"), f"{path}[{name!r}]")
            elif name in members:
                yield from texts(item, members[name], join(path, name))


def _inner(kind: str, bracket: str) -> str:
    """The kind of the elements of a list or an object; elements of a plain kind have the same kind."""
    return kind[1:-1] if kind[0] == bracket else kind


def join(path: str, name: str) -> str:
    """The key path of a member."""
    return f"{path}.{name}" if path else name


def _json_type(value: Any) -> str:
    if isinstance(value, float):
        return f"the number {value!r}"
    types = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number"}
    return types.get(type(value), "something that JSON does not have")
