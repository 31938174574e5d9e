"""The results of workflows as ConfigMaps, for programs in the cluster that wait for them (contract section 7).

`configmap_of` makes the object. `ConfigMaps` applies those of one namespace, a few at a time, each until it is applied
or can never be:

* unreachable, 401, 409, 429, 5xx: tried again with backoff, for `give_up_s` after the workflow has ended;
* 403: the service account lacks the right, so that another try is useless before an operator acts;
* 404: the namespace is gone, and the workflow with it: nothing is left to do;
* any other refusal: this object is given up; the next one may be accepted.

Two runs of a workflow, or two workflows with one correlation id, share one ConfigMap: the later result is applied last.
Applying one again does no harm: a new leader does so with those that the leader before may not have applied.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from edgeagent.argo.wire import Workflow, WorkflowStatus
from edgeagent.common.backoff import full_jitter
from edgeagent.common.names import is_dns_subdomain
from edgeagent.errors import EngineError, EngineRefused, EngineUnavailable
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID, LABEL_RULE

NAME_PREFIX = "pipeline-status-"
ARTIFACT_URL = "artifact-url"
# The limit of what waits, at about 1.5 KB each: so many may end while the API server is away, or be new to a leader.
MAX_WAITING = 20_000

_MAX_MESSAGE_CHARS = 2000
_MAX_URL_CHARS = 4000
_MAX_RETRY_AFTER_S = 60.0  # a server may not ask for a longer wait
_RESULTS: Final = {"Succeeded": "success", "Failed": "failure", "Error": "error"}
_LABELS = (LABEL_AGENT, LABEL_RULE, LABEL_CORRELATION_ID)
# Argo's mark on a workflow from its archive. The workflow itself is gone, and Kubernetes would collect its ConfigMap.
_LABEL_ARCHIVING, _ARCHIVED = "workflows.argoproj.io/workflow-archiving-status", "Persisted"
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT = 401, 403, 404, 409
_WORTH_ANOTHER_TRY = frozenset({_UNAUTHORIZED, _CONFLICT})
_AT_ONCE = 4  # requests of one namespace
_UNNAMED = "configmap_unnamed"

_encoder = msgspec.json.Encoder()

log = logging.getLogger(__name__)


def configmap_name(workflow: Workflow) -> str:
    """The name of a workflow's ConfigMap; "" if its correlation id cannot be part of a name."""
    name = NAME_PREFIX + (workflow.metadata.labels or {}).get(LABEL_CORRELATION_ID, "")
    return name if is_dns_subdomain(name) else ""


def configmap_of(namespace: str, workflow: Workflow) -> dict[str, Any] | None:
    """The ConfigMap with the result of a workflow, as it is applied.

    Args:
        namespace: of both.
        workflow: as reported by the engine.

    Returns:
        None for a workflow that has not ended, that cannot be an owner (archived, or without a uid), that is a copy of
        another one, whose ConfigMap it would replace, or whose ConfigMap can have no name. `artifact-url` is absent
        without an output parameter of that name, or if its value is longer than 4,000 characters.
    """
    metadata, state = workflow.metadata, workflow.status or WorkflowStatus()
    labels = metadata.labels or {}
    name, result = configmap_name(workflow), _RESULTS.get(state.phase)
    if not name or result is None or not metadata.uid or metadata.is_copy or labels.get(_LABEL_ARCHIVING) == _ARCHIVED:
        return None
    data = {
        "result": result,
        "completed-at": state.finished_at or "",
        "message": state.message[:_MAX_MESSAGE_CHARS],
    }
    parameters = (state.outputs.parameters if state.outputs else None) or ()
    url = next((parameter.text for parameter in parameters if parameter.name == ARTIFACT_URL), "")
    if url and len(url) <= _MAX_URL_CHARS:
        data[ARTIFACT_URL] = url
    owner = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "name": metadata.name,
        "uid": metadata.uid,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {key: labels[key] for key in _LABELS if key in labels},
            "ownerReferences": [owner],
        },
        "data": data,
    }


class Apply(Protocol):
    """The operation needed of the Kubernetes client; it raises `EngineUnavailable` or `EngineRefused`."""

    async def apply_configmap(self, namespace: str, name: str, configmap: bytes) -> None:
        """Create the ConfigMap or update it to this; the whole object, as JSON."""


class Patience(NamedTuple):
    """In seconds. `base_s`, `cap_s`: the first and the largest bound of the backoff.

    `give_up_s`: how long it is tried to apply a ConfigMap, from the moment on when the workflow's end was seen.
    """

    base_s: float = 1.0
    cap_s: float = 30.0
    give_up_s: float = 3600.0


DEFAULT_PATIENCE = Patience()


class _Job(NamedTuple):
    """One ConfigMap to apply."""

    name: str
    configmap: bytes
    since_s: float
    done: Callable[[], None]


class _Busy:
    """A ConfigMap being applied. `stop`: make no further try. `forgotten`: do not report its end."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.forgotten = False


class ConfigMaps:
    """Owns the ConfigMaps of one namespace that wait to be applied; `run` must be running to apply them.

    The end of each is reported once, whether it was applied or given up. One that is given up is counted and logged.

    Attributes:
        applied: how many the API server accepted.
        lost: how many were given up.
    """

    def __init__(
        self,
        client: Apply,
        namespace: str,
        patience: Patience = DEFAULT_PATIENCE,
        *,
        max_waiting: int = MAX_WAITING,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nothing waiting.

        Args:
            client: the Kubernetes client.
            namespace: of the workflows.
            patience: how long to try.
            max_waiting: if more wait, the oldest is given up.
            now: monotonic seconds.
        """
        self.applied = 0
        self.lost = 0
        self._client = client
        self._namespace = namespace
        self._patience = patience
        self._max_waiting = max_waiting
        self._now = now
        self._waiting: OrderedDict[str, _Job] = OrderedDict()  # by name; taken from its front, as no dict likes it
        self._busy: dict[str, _Busy] = {}
        self._wanted = asyncio.Event()
        self._reported: set[str] = set()  # the kinds of trouble logged since a ConfigMap was last applied

    @property
    def pending(self) -> int:
        """How many wait or are being applied."""
        return len(self._waiting) + len(self._busy)

    def put(self, workflow: Workflow, done: Callable[[], None]) -> None:
        """Apply the result of a workflow that has ended.

        Args:
            workflow: as reported by the engine.
            done: called once, when nothing is left to do: the ConfigMap is applied, given up, or replaced by a later
                one; at once if the workflow can have none. Never called after `clear`.
        """
        configmap = configmap_of(self._namespace, workflow)
        if configmap is None:
            if not configmap_name(workflow):
                what = f"{workflow.metadata.name} gets no ConfigMap: its correlation id cannot be part of a name"
                self._report(logging.WARNING, _UNNAMED, what)
            done()
            return
        name = configmap_name(workflow)
        if name in self._busy:
            self._busy[name].stop.set()
        earlier = self._waiting.pop(name, None)
        self._waiting[name] = _Job(name, _encoder.encode(configmap), self._now(), done)
        if earlier is not None:
            earlier.done()
        elif len(self._waiting) > self._max_waiting:
            _, oldest = self._waiting.popitem(last=False)
            self._give_up(oldest, f"more than {self._max_waiting} wait")
            oldest.done()
        self._wanted.set()

    def clear(self) -> None:
        """Forget everything that waits, and call none of the earlier `done`: the next leader applies it."""
        self._waiting.clear()
        for busy in self._busy.values():
            busy.forgotten = True
            busy.stop.set()

    async def run(self) -> None:
        """Apply until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            # Two of the same name are applied one after another: the API server may answer in any order.
            job = next((job for name, job in self._waiting.items() if name not in self._busy), None)
            if job is None:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            del self._waiting[job.name]
            busy = self._busy[job.name] = _Busy()
            await self._apply(job, busy.stop)
            del self._busy[job.name]
            self._wanted.set()  # the next of this name
            if not busy.forgotten:
                job.done()

    async def _apply(self, job: _Job, stop: asyncio.Event) -> None:
        """Try until the ConfigMap is applied, given up or no longer wanted."""
        failures = 0
        while True:
            try:
                await self._client.apply_configmap(self._namespace, job.name, job.configmap)
            except (EngineUnavailable, EngineRefused) as exc:
                wait_s = None if stop.is_set() else self._wait_s(job, exc, failures)
            else:
                self._works()
                return
            if wait_s is None:
                return
            failures += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await stop.wait()
            if stop.is_set():
                return

    def _wait_s(self, job: _Job, error: EngineUnavailable | EngineRefused, failures: int) -> float | None:
        """The seconds until the next try; None if there is none."""
        status = error.status if isinstance(error, EngineRefused) else None
        if status == _NOT_FOUND:
            return None
        if status is not None and status not in _WORTH_ANOTHER_TRY:
            self._give_up(job, _refusal(error, status))
            return None
        if self._now() - job.since_s >= self._patience.give_up_s:
            self._give_up(job, f"tried for {self._patience.give_up_s:g} s: {error}")
            return None
        level = logging.ERROR if status == _UNAUTHORIZED else logging.WARNING
        what = f"cannot write the results of workflows in {self._namespace!r} as ConfigMaps, retrying: {error}"
        self._report(level, "configmap_unavailable", what)
        fraction = random.random()  # noqa: S311  jitter is no secret
        wait_s = full_jitter(failures, fraction, base_s=self._patience.base_s, cap_s=self._patience.cap_s)
        asked_s = error.retry_after_s if isinstance(error, EngineUnavailable) else None
        return max(wait_s, min(asked_s or 0.0, _MAX_RETRY_AFTER_S))

    def _give_up(self, job: _Job, reason: str) -> None:
        self.lost += 1
        what = f"the ConfigMap {job.name} in {self._namespace!r}, and maybe others, will not be written: {reason}"
        self._report(logging.ERROR, "configmap_lost", what)

    def _works(self) -> None:
        self.applied += 1
        if self._reported - {_UNNAMED}:
            extra = {"event": "configmap_works", "namespace": self._namespace}
            log.info("results of workflows in %r are written as ConfigMaps again", self._namespace, extra=extra)
        self._reported &= {_UNNAMED}

    def _report(self, level: int, event: str, what: str) -> None:
        """Log the first of several troubles of a kind."""
        if event not in self._reported:
            self._reported.add(event)
            log.log(level, "%s", what, extra={"event": event, "namespace": self._namespace})


def _refusal(error: EngineError, status: int) -> str:
    if status != _FORBIDDEN:
        return str(error)
    return (
        f"{error}; give the dispatcher's service account create and patch of configmaps there "
        "(the Role edgeagent-dispatcher-configmaps), or make room if it names a quota"
    )
