"""The parts of Argo's answers that edgeagent reads, as Structs. Other members are skipped.

Every member has a default: Argo leaves out zero values, writes unset times and empty lists as null, and leaves out
fields that were not requested.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.wire.messages import ANNOTATION_OUTPUTS, ANNOTATION_TRACEPARENT


class _Answer(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The base: Argo's member names are in camel case."""


LABEL_RESUBMITTED = "workflows.argoproj.io/resubmitted-from-workflow"


class Annotations(_Answer, frozen=True):
    """Of a workflow's annotations, ours that dispatchers read."""

    outputs: str = msgspec.field(default="", name=ANNOTATION_OUTPUTS)
    traceparent: str = msgspec.field(default="", name=ANNOTATION_TRACEPARENT)


class Metadata(_Answer, frozen=True):
    """A workflow's metadata. `labels` and `annotations` are null if there are none."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: Annotations | None = None

    @property
    def is_copy(self) -> bool:
        """Whether `argo resubmit` created it: then its labels and annotations are those of the original workflow."""
        return LABEL_RESUBMITTED in (self.labels or {})


class ArgoParameter(_Answer, frozen=True):
    """An output parameter. `value` is any JSON: Argo keeps whatever was given."""

    name: str = ""
    value: Any = None

    @property
    def text(self) -> str | None:
        """The value as text: a string unchanged, anything else as JSON; None without a value."""
        if self.value is None or isinstance(self.value, str):
            return self.value
        return msgspec.json.encode(self.value).decode()


class Outputs(_Answer, frozen=True):
    """A workflow's outputs."""

    parameters: list[ArgoParameter] | None = None


class WorkflowStatus(_Answer, frozen=True):
    """`phase` is empty until the controller has seen the workflow; `progress` is `N/M`; times are RFC 3339 or null."""

    phase: str = ""
    progress: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    outputs: Outputs | None = None


class TemplateRef(_Answer, frozen=True):
    """The WorkflowTemplate or ClusterWorkflowTemplate that a workflow refers to."""

    name: str = ""


class WorkflowSpec(_Answer, frozen=True):
    """A workflow's specification. `workflow_template_ref` is absent from one with its own templates."""

    workflow_template_ref: TemplateRef | None = None


class Workflow(_Answer, frozen=True):
    """A workflow. `status` is null right after the creation."""

    metadata: Metadata = Metadata()
    status: WorkflowStatus | None = None
    spec: WorkflowSpec | None = None

    @property
    def template(self) -> str:
        """The name of the template that it refers to; empty if it has its own."""
        reference = self.spec.workflow_template_ref if self.spec is not None else None
        return reference.name if reference is not None else ""


class ListMetadata(_Answer, frozen=True):
    """A list's metadata. `continue_` is empty on the last page."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class WorkflowList(_Answer, frozen=True):
    """One page of a list; `items` is null if it is empty."""

    metadata: ListMetadata = ListMetadata()
    items: list[Workflow] | None = None


class WatchEvent(_Answer, frozen=True):
    """One change: `type` is ADDED, MODIFIED, DELETED or BOOKMARK; `object` is the workflow after it."""

    type: str
    object: Workflow = Workflow()


class StreamError(_Answer, frozen=True):
    """An error in the middle of a watch. Its member names are not in camel case."""

    grpc_code: int = msgspec.field(default=0, name="grpc_code")
    http_code: int = msgspec.field(default=0, name="http_code")
    message: str = ""


class StreamItem(_Answer, frozen=True):
    """The content of one line of a watch: a result or an error."""

    result: WatchEvent | None = None
    error: StreamError | None = None


class ErrorBody(_Answer, frozen=True):
    """The body of a refusal, if it is JSON at all: the gRPC code and a text."""

    code: int = 0
    message: str = ""


class Version(_Answer, frozen=True):
    """The server's version, a text such as `v4.1.2`."""

    version: str
