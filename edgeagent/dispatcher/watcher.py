"""Follows the workflows of one namespace: by a watch that is kept open, and by an occasional list.

The watch begins without a resource version: the engine then sends every existing workflow (as ADDED) and after that the
changes. It ends normally when Kubernetes closes it, and is reopened at once. Changes between two watches arrive with
the next one's beginning, except for workflows that are gone by then. For these the namespace is listed:

* everything, also what is only in the archive, at the start, when we take the lead, and after a time without a watch:
  a workflow that finished and was removed in that time is found nowhere else;
* the unfinished ones every `list_s`, which reveals what a watch lost, for whatever reason.

An unfinished workflow that a list lacks is listed up by name, and is gone if it is not found.

Both go on for ever, whatever the engine says: if it is unreachable, with backoff; if it refuses, after `refused_s`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple, Protocol

from edgeagent.argo.wire import WatchEvent, Workflow, WorkflowList
from edgeagent.common.backoff import full_jitter
from edgeagent.errors import EngineError, EngineRefused, EngineUnavailable, WatchExpired
from edgeagent.wire.messages import LABEL_CORRELATION_ID

OWN = LABEL_CORRELATION_ID
# The controller sets the label when it has finished a workflow; before that, it is "false" or absent.
UNFINISHED = f"{OWN},workflows.argoproj.io/completed!=true"

_UNAUTHORIZED, _FORBIDDEN = 401, 403
_MAX_RETRY_AFTER_S = 60.0  # a server may not ask for a longer wait
# Each page is processed by itself, so that a long archive needs no memory. A list ends at a million workflows: a server
# that never says which page is the last must not be asked without end.
_PAGE = 100
_MAX_PAGES = 10_000
_MAX_VAIN = 3

log = logging.getLogger(__name__)


class Workflows(Protocol):
    """The operations needed of the engine's client; they raise `EngineUnavailable` or `EngineRefused`."""

    async def get(self, namespace: str, name: str) -> Workflow | None:
        """The workflow, in the archive too; None if there is none."""

    async def list(self, namespace: str, *, labels: str, limit: int = 500) -> tuple[list[Workflow], str]:
        """All workflows that a label selector matches."""

    async def page(self, namespace: str, *, labels: str, limit: int, continue_: str) -> WorkflowList:
        """One page of them, from where the page before says that the list continues; "" for the first."""

    def watch(self, namespace: str, *, labels: str, resource_version: str = "") -> AsyncGenerator[WatchEvent, None]:
        """Every change. Ends when the engine closes the watch; may also raise `WatchExpired`."""


class Sink(Protocol):
    """Receives what a watcher sees. Its methods neither await nor raise."""

    def seen(self, workflow: Workflow) -> None:
        """The workflow was listed or has changed. It may be older than one seen before."""

    def deleted(self, workflow: Workflow) -> None:
        """The workflow was deleted, with this as its last state."""

    def gone(self, name: str) -> None:
        """The workflow was unfinished, and is not found any more."""

    def unfinished(self) -> dict[str, str]:
        """The uid, by name, of each workflow not known to have finished or gone."""

    def interrupted(self) -> None:
        """The watch was interrupted: until `listed(everything=True)` some finished workflows may not have been seen."""

    def listed(self, *, everything: bool) -> None:
        """A list was processed: of everything, or of the unfinished workflows."""


class Timing(NamedTuple):
    """In seconds.

    `gap_s`: a watch that is reopened sooner has missed nothing that its beginning does not send. `list_s`: between two
    lists of the unfinished. `refused_s`: until a refused request is tried again; `forbidden_s`: the same for the first
    403 since it last worked. `base_s` and `cap_s`: the first and the largest bound of the backoff. `stable_s`: a watch
    that lasts longer resets the backoff. `answered_s`: a watch that lasts longer was answered even if silent: the
    engine sends at least a comment every 15 s.
    """

    gap_s: float = 10.0
    list_s: float = 600.0
    refused_s: float = 30.0
    forbidden_s: float = 5.0
    base_s: float = 1.0
    cap_s: float = 30.0
    stable_s: float = 30.0
    answered_s: float = 60.0


DEFAULT_TIMING = Timing()


class _Trouble:
    """Logs the first of several failures of one kind of request, and when they are over."""

    def __init__(self, namespace: str, verb: str, timing: Timing) -> None:
        self._namespace = namespace
        self._verb = verb
        self._timing = timing
        self._reported: type[EngineError] | None = None
        self._worked = True  # since the last failure; assumed at the start

    def report(self, error: EngineError, failures: int) -> float:
        """Log the error if it is of another kind than the last one; returns the seconds to wait."""
        if self._worked and isinstance(error, EngineRefused) and error.status == _FORBIDDEN:
            # An API server that has just started forbids everything for a second.
            self._worked = False
            extra = {"event": "engine_watch_refused_once", "namespace": self._namespace}
            log.warning("may not %s workflows in %r, asking again: %s", self._verb, self._namespace, error, extra=extra)
            return self._timing.forbidden_s
        self._worked = False
        new, self._reported = type(error) is not self._reported, type(error)
        if isinstance(error, EngineRefused):
            if new:
                log.error("%s", self._refusal(error), extra={"event": "engine_watch_refused", "status": error.status})
            return self._timing.refused_s
        if new:
            extra = {"event": "engine_watch_unavailable", "namespace": self._namespace}
            log.warning("cannot %s workflows in %r, retrying: %s", self._verb, self._namespace, error, extra=extra)
        asked_s = error.retry_after_s if isinstance(error, EngineUnavailable) else None
        fraction = random.random()  # noqa: S311  jitter is no secret
        wait_s = full_jitter(failures, fraction, base_s=self._timing.base_s, cap_s=self._timing.cap_s)
        return max(wait_s, min(asked_s or 0.0, _MAX_RETRY_AFTER_S))

    def over(self) -> None:
        """Log that requests work again, if they had failed."""
        if self._reported is not None:
            extra = {"event": "engine_watch_works", "namespace": self._namespace}
            log.info("can %s workflows in %r again", self._verb, self._namespace, extra=extra)
        self._reported = None
        self._worked = True

    def _refusal(self, error: EngineRefused) -> str:
        what = f"cannot {self._verb} workflows in {self._namespace!r}, no status of them is published: {error}"
        if error.status == _UNAUTHORIZED:
            return f"{what}; renew the token in engine.token_file"
        if error.status == _FORBIDDEN:
            return f"{what}; give the dispatcher's service account get, list and watch of workflows there"
        return f"{what}; is engine.url the address of an Argo Server?"


class Watcher:
    """Follows one namespace and notifies its sink; `run` must be running."""

    def __init__(self, client: Workflows, namespace: str, sink: Sink, timing: Timing = DEFAULT_TIMING) -> None:
        """Create a watcher; it asks nothing before `run`.

        Args:
            client: the engine's client.
            namespace: the namespace to follow.
            sink: is notified of what is seen.
            timing: how often, and how long to wait.
        """
        self._client = client
        self._namespace = namespace
        self._sink = sink
        self._timing = timing
        self._failing_since: float | None = None  # neither a watch nor a list has worked since then
        self._vain = 0  # lists of everything in a row that failed while others did not
        self._everything_wanted = asyncio.Event()
        self._everything_wanted.set()

    def failing_s(self) -> float:
        """For how many seconds the engine has reported nothing of this namespace; 0 while it does."""
        return asyncio.get_running_loop().time() - self._failing_since if self._failing_since is not None else 0.0

    def list_everything(self) -> None:
        """List everything as soon as possible; a list already under way does not count."""
        self._everything_wanted.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._list())

    async def _watch(self) -> None:
        """Keep a watch open."""
        loop = asyncio.get_running_loop()
        trouble = _Trouble(self._namespace, "watch", self._timing)
        watched_s = -math.inf  # when the last watch that worked ended
        failures = 0
        while True:
            began_s = loop.time()
            if began_s - watched_s > self._timing.gap_s:
                self._sink.interrupted()
                self.list_everything()
            error, heard = await self._follow(trouble)
            ended_s = loop.time()
            closed = error is None or isinstance(error, WatchExpired)
            if closed or heard or ended_s - began_s > self._timing.answered_s:
                watched_s = ended_s
            failures = 0 if ended_s - began_s > self._timing.stable_s else failures + 1
            if error is not None and not isinstance(error, WatchExpired):
                if self._failing_since is None:
                    self._failing_since = ended_s
                await asyncio.sleep(trouble.report(error, failures))
            elif failures > 1:  # a watch that the engine closes is reopened at once, but not again and again
                fraction = random.random()  # noqa: S311  jitter is no secret
                base_s, cap_s = self._timing.base_s, self._timing.cap_s
                await asyncio.sleep(full_jitter(failures - 2, fraction, base_s=base_s, cap_s=cap_s))

    async def _follow(self, trouble: _Trouble) -> tuple[EngineError | None, bool]:
        """One watch, to its end; returns why it ended (None: the engine closed it), and whether anything arrived."""
        heard = False
        try:
            async with aclosing(self._client.watch(self._namespace, labels=OWN)) as events:
                async for event in events:
                    heard = True
                    self._failing_since = None
                    trouble.over()
                    if event.type == "DELETED":
                        self._sink.deleted(event.object)
                    elif event.type in {"ADDED", "MODIFIED"}:
                        self._sink.seen(event.object)
        except (WatchExpired, EngineUnavailable, EngineRefused) as exc:
            return exc, heard
        return None, heard

    async def _list(self) -> None:
        """List everything if requested, otherwise the unfinished workflows every `list_s`."""
        trouble = _Trouble(self._namespace, "list", self._timing)
        failures = 0
        while True:
            everything = self._everything_wanted.is_set()
            self._everything_wanted.clear()
            try:
                await (self._list_everything_once() if everything else self._process(UNFINISHED))
            except (EngineUnavailable, EngineRefused) as exc:
                if everything:
                    self._everything_wanted.set()
                await asyncio.sleep(trouble.report(exc, failures))
                failures += 1
                continue
            trouble.over()
            self._failing_since = None
            failures = 0
            self._sink.listed(everything=everything and not self._everything_wanted.is_set())
            await self._until_wanted()

    async def _until_wanted(self) -> None:
        try:
            async with asyncio.timeout(self._timing.list_s):
                await self._everything_wanted.wait()
        except TimeoutError:
            return

    async def _list_everything_once(self) -> None:
        """Process a list of everything; of the unfinished only, once everything has failed several times."""
        try:
            await self._process(OWN)
        except EngineUnavailable as exc:
            await self._process(UNFINISHED)  # which fails too if the engine is away
            self._vain += 1
            if self._vain < _MAX_VAIN:
                raise
            reason = str(exc)
        else:
            self._vain = 0
            return
        self._vain = 0
        log.error(
            "the workflows in %r cannot be listed as a whole; statuses of those that finished and were removed while "
            "no dispatcher ran are lost: %s",
            self._namespace,
            reason,
            extra={"event": "status_list_failed", "namespace": self._namespace},
        )

    async def _process(self, labels: str) -> None:
        """Process one list, page by page, and look up each unfinished workflow that it lacks."""
        missing = self._sink.unfinished()
        continue_ = ""
        for _ in range(_MAX_PAGES):
            page = await self._client.page(self._namespace, labels=labels, limit=_PAGE, continue_=continue_)
            for workflow in page.items or ():
                missing.pop(workflow.metadata.name, None)
                self._sink.seen(workflow)
            continue_ = page.metadata.continue_
            if not continue_:
                break
        else:
            raise EngineUnavailable("the engine", f"the list has more than {_MAX_PAGES} pages of {_PAGE}")
        for name, uid in missing.items():
            if self._sink.unfinished().get(name) != uid:
                continue  # the watch has reported it in the meantime
            workflow_now = await self._client.get(self._namespace, name)
            # The archive may return an earlier workflow of that name.
            if workflow_now is not None and workflow_now.metadata.uid == uid:
                self._sink.seen(workflow_now)
            elif self._sink.unfinished().get(name) == uid:
                self._sink.gone(name)
