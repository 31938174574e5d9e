"""Follows the workflows of one namespace: a watch that is kept open, and a list now and then.

The watch begins with no resource version: the engine then sends every workflow there is (as ADDED) and after that the
changes. It ends normally when Kubernetes closes it, and is opened again at once. What happens between two watches comes
with the next one's beginning, except for workflows that are gone by then. For these the namespace is listed:

* everything, also what only the archive still has, at the start, when we take the lead, and after a time without a
  watch: what finished and went away in that time is found nowhere else;
* the unfinished ones every `look_s`: what a watch lost, for whatever reason, is noticed by that.

An unfinished workflow that a list does not have is asked for by name, and is gone when it is not found.

Both go on for ever, whatever the engine says: unreachable is tried again with backoff, refused after `refused_s`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple, Protocol

from edgeagent.argo.wire import WatchEvent, Workflow
from edgeagent.common.backoff import full_jitter
from edgeagent.errors import EngineError, EngineRefused, EngineUnavailable, WatchExpired
from edgeagent.wire.messages import LABEL_CORRELATION_ID

OWN = LABEL_CORRELATION_ID
# The controller sets the label when it has finished a workflow; before, it is "false" or not there.
UNFINISHED = f"{OWN},workflows.argoproj.io/completed!=true"

_UNAUTHORIZED, _FORBIDDEN = 401, 403
_MAX_RETRY_AFTER_S = 60.0  # nobody may put us off for longer
# The client takes a bounded number of pages: small ones bound the memory that an archive of years would need.
_PAGE = 100
_MAX_VAIN = 3
_BATCH = 500  # workflows that are taken in without letting others work

log = logging.getLogger(__name__)


class Workflows(Protocol):
    """What is needed of the engine's client; its methods raise `EngineUnavailable` or `EngineRefused`."""

    async def get(self, namespace: str, name: str) -> Workflow | None:
        """The workflow, from the archive too; None when there is none."""

    async def list(self, namespace: str, *, labels: str, limit: int = 500) -> tuple[list[Workflow], str]:
        """All workflows that the label selector selects."""

    def watch(self, namespace: str, *, labels: str, resource_version: str = "") -> AsyncGenerator[WatchEvent, None]:
        """Every change. Ends when the engine closes it; may raise `WatchExpired` too."""


class Sink(Protocol):
    """Who is told what was seen. None of these may await or raise."""

    def seen(self, workflow: Workflow) -> None:
        """It was listed or has changed. May be older than what was told before."""

    def deleted(self, workflow: Workflow) -> None:
        """It was deleted, with this as its last state."""

    def gone(self, name: str) -> None:
        """It was unfinished, and is found nowhere any more."""

    def unfinished(self) -> dict[str, str]:
        """The uid of each workflow that is not known to be finished or gone, by name."""

    def interrupted(self) -> None:
        """For some time nothing was watched: until `looked(everything=True)` there may be finished ones not seen."""

    def looked(self, *, everything: bool) -> None:
        """A list has been taken in, of everything or of the unfinished ones."""


class Timing(NamedTuple):
    """In seconds.

    `gap_s`: a watch that is opened again sooner has missed nothing that its beginning does not bring. `look_s`: between
    two lists of the unfinished. `refused_s`: until something refused is tried again; `forbidden_s`: when it
    is forbidden (403) for the first time since it worked. `base_s` and `cap_s`: the longest
    first and the longest wait of the backoff. `stable_s`: a watch that lasts longer ends the backoff. `answered_s`: one
    that lasts longer was answered, also when it told nothing: the engine sends at least comments, every 15 s.
    """

    gap_s: float = 10.0
    look_s: float = 600.0
    refused_s: float = 30.0
    forbidden_s: float = 5.0
    base_s: float = 1.0
    cap_s: float = 30.0
    stable_s: float = 30.0
    answered_s: float = 60.0


DEFAULT_TIMING = Timing()


class _Trouble:
    """Tells the first of several failures of one kind of request, and that they are over."""

    def __init__(self, namespace: str, verb: str, timing: Timing) -> None:
        self._namespace = namespace
        self._verb = verb
        self._timing = timing
        self._told: type[EngineError] | None = None
        self._worked = True  # since the last failure; at first we hope so

    def tell(self, error: EngineError, failures: int) -> float:
        """Log the error when it is another kind than the last one; returns the seconds to wait."""
        if self._worked and isinstance(error, EngineRefused) and error.status == _FORBIDDEN:
            # An API server that has just started forbids everything for a second.
            self._worked = False
            extra = {"event": "engine_watch_refused_once", "namespace": self._namespace}
            log.warning("may not %s workflows in %r, asking again: %s", self._verb, self._namespace, error, extra=extra)
            return self._timing.forbidden_s
        self._worked = False
        new, self._told = type(error) is not self._told, type(error)
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
        """It works."""
        if self._told is not None:
            extra = {"event": "engine_watch_works", "namespace": self._namespace}
            log.info("can %s workflows in %r again", self._verb, self._namespace, extra=extra)
        self._told = None
        self._worked = True

    def _refusal(self, error: EngineRefused) -> str:
        what = f"cannot {self._verb} workflows in {self._namespace!r}, no status of them is published: {error}"
        if error.status == _UNAUTHORIZED:
            return f"{what}; renew the token in engine.token_file"
        if error.status == _FORBIDDEN:
            return f"{what}; give the dispatcher's service account get, list and watch of workflows there"
        return f"{what}; is engine.url the address of an Argo Server?"


class Watcher:
    """Follows one namespace. `run` must be running for anything to be told."""

    def __init__(self, client: Workflows, namespace: str, sink: Sink, timing: Timing = DEFAULT_TIMING) -> None:
        """Nothing is asked yet.

        Args:
            client: the engine's.
            namespace: which one.
            sink: who is told.
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
        """For how long the engine has told nothing of this namespace, in seconds; 0 while it does."""
        return asyncio.get_running_loop().time() - self._failing_since if self._failing_since is not None else 0.0

    def list_everything(self) -> None:
        """List everything as soon as possible; one that is under way does not count."""
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
                await asyncio.sleep(trouble.tell(error, failures))
            elif failures > 1:  # closed by the engine is opened at once, but not again and again
                fraction = random.random()  # noqa: S311  jitter is no secret
                base_s, cap_s = self._timing.base_s, self._timing.cap_s
                await asyncio.sleep(full_jitter(failures - 2, fraction, base_s=base_s, cap_s=cap_s))

    async def _follow(self, trouble: _Trouble) -> tuple[EngineError | None, bool]:
        """One watch, to its end; why it ended (None: the engine closed it), and whether anything came."""
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
        """List everything when it is wanted, else the unfinished ones every `look_s`."""
        trouble = _Trouble(self._namespace, "list", self._timing)
        failures = 0
        while True:
            everything = self._everything_wanted.is_set()
            self._everything_wanted.clear()
            try:
                await (self._look_at_everything() if everything else self._look(UNFINISHED))
            except (EngineUnavailable, EngineRefused) as exc:
                if everything:
                    self._everything_wanted.set()
                await asyncio.sleep(trouble.tell(exc, failures))
                failures += 1
                continue
            trouble.over()
            self._failing_since = None
            failures = 0
            self._sink.looked(everything=everything and not self._everything_wanted.is_set())
            await self._until_wanted()

    async def _until_wanted(self) -> None:
        try:
            async with asyncio.timeout(self._timing.look_s):
                await self._everything_wanted.wait()
        except TimeoutError:
            return

    async def _look_at_everything(self) -> None:
        """Take in a list of everything; of the unfinished ones only, when everything cannot be had again and again."""
        try:
            await self._look(OWN)
        except EngineUnavailable as exc:
            await self._look(UNFINISHED)  # which fails too when it is the engine that is away
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

    async def _look(self, labels: str) -> None:
        """Take in one list, and what has become of those that should be in it and are not."""
        missing = self._sink.unfinished()
        workflows, _ = await self._client.list(self._namespace, labels=labels, limit=_PAGE)
        for number, workflow in enumerate(workflows, 1):
            missing.pop(workflow.metadata.name, None)
            self._sink.seen(workflow)
            if not number % _BATCH:  # a list may be long, and nothing in this loop waits
                await asyncio.sleep(0)
        for name, uid in missing.items():
            if self._sink.unfinished().get(name) != uid:
                continue  # in the meantime the watch has told
            workflow_now = await self._client.get(self._namespace, name)
            # The archive answers with any earlier workflow of that name.
            if workflow_now is not None and workflow_now.metadata.uid == uid:
                self._sink.seen(workflow_now)
            elif self._sink.unfinished().get(name) == uid:
                self._sink.gone(name)
