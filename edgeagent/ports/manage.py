"""What the agent offers for managing workflows: an order to do something to one, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgeagent.wire.operations import OPERATIONS, Operation

# A stop that comes days later stops what nobody meant.
DEFAULT_TTL_S = 3600.0
MAX_TTL_S = 7 * 86400.0
_MAX_ID_CHARS = 253
_MAX_LISTED = 100
_MAX_CONTINUE_CHARS = 4096
_MAX_MESSAGE_CHARS = 1024

# `waiting`: to be sent, or for the answer. The others are final: done as asked, refused, or not answered in time.
RequestState = Literal["waiting", "done", "refused", "expired"]


class ManageOrder(
    msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, rename={"continue_": "continue"}
):
    """An operation on the workflow of one trigger. `id`: what `where` knows it by; with `list`, nothing.

    `namespace`: needed for `list`, and for a workflow that is no trigger's, which `id` then names. `ttl_s`: for how
    long the request may wait. The others are as in the message (contract section 15).
    """

    operation: Annotated[Operation, Meta(description=f"must be one of {', '.join(OPERATIONS)}")]
    id: Annotated[str, Meta(max_length=_MAX_ID_CHARS, description="must be at most 253 characters")] = ""
    namespace: Annotated[str, Meta(max_length=63, description="must be at most 63 characters")] = ""
    message: Annotated[str, Meta(max_length=_MAX_MESSAGE_CHARS, description="must be at most 1024 characters")] = ""
    whole: Annotated[bool, Meta(description="must be true or false")] = False
    limit: Annotated[int, Meta(ge=1, le=_MAX_LISTED, description=f"must be 1 to {_MAX_LISTED}")] = 50
    continue_: Annotated[
        str, Meta(max_length=_MAX_CONTINUE_CHARS, description="must be `continue` of an earlier answer")
    ] = ""
    ttl_s: Annotated[float, Meta(ge=1, le=MAX_TTL_S, description=f"must be 1 to {MAX_TTL_S:.0f} seconds")] = (
        DEFAULT_TTL_S
    )


class ManageFigures(msgspec.Struct, frozen=True):
    """The requests of an agent since its start: how many `made`, `done`, `refused`, `expired`, by operation.

    `waiting`: how many are to be sent, or have no answer yet.
    """

    counts: Mapping[tuple[str, str], int]
    waiting: int


class RequestQuery(msgspec.Struct, frozen=True):
    """Which request is asked about."""

    request_id: Annotated[str, Meta(min_length=1, max_length=128, description="must be a request's id")]


class ManagedRequest(msgspec.Struct, frozen=True, omit_defaults=True, rename={"workflow_id": "workflowId"}):
    """A request about a workflow and what became of it.

    `at`, `until`: when it was made, and until when it may wait, RFC 3339. `why`: what it waits for, or why it ended as
    it did. `answer`: the dispatcher's, with the members of the message.
    """

    request_id: str
    operation: str
    namespace: str
    state: RequestState
    at: str
    until: str
    workflow_id: str = ""
    correlation_id: str = ""
    why: str = ""
    answer: dict[str, Any] | None = None


class ManagedRequests(msgspec.Struct, frozen=True):
    """Requests, newest first."""

    requests: Sequence[ManagedRequest]
