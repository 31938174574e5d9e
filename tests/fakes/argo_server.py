"""A fake Argo Server: its REST interface and, for ConfigMaps, the Kubernetes API's, over an `ArgoStore`.

    async with FakeArgo() as argo:
        argo.templates.add(("plant", "inspect"))
        ...
        argo.advance("plant", name, phase="Running", progress="1/2")

It holds whoever asks to Argo's API document: a request with a member, a query or a path that the document or the fake
does not know is answered as Argo would and makes `close` (the end of `async with`) fail.

As a program it serves benchmarks: `python -m tests.fakes.argo_server --port 2746 --auto --template plant/inspect`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import h11

from tests.fakes.argo_failures import (
    Answer,
    Failure,
    conflict,
    drop_after,
    drop_before,
    hang,
    not_json,
    quota,
    rate_limited,
    refused,
)
from tests.fakes.argo_http import Connection, Request
from tests.fakes.argo_routes import Routes
from tests.fakes.argo_rules import Json, Refusal
from tests.fakes.argo_store import ArgoStore
from tests.fakes.argo_watch import BreakKind, Watch
from tests.fakes.listener import Listener

__all__ = [
    "Failure",
    "FakeArgo",
    "Request",
    "conflict",
    "drop_after",
    "drop_before",
    "hang",
    "not_json",
    "quota",
    "rate_limited",
    "refused",
]

AUTO_STEP_S = 0.05
_PROXY_ANSWER = Answer(404, b"<html>404 page not found</html>", (("Content-Type", "text/html"),))


class _Scripted(NamedTuple):
    failure: Failure
    path: str
    method: str


class FakeArgo:
    """An Argo Server on loopback, in the test's own loop.

    A workflow that it returns, or that a watch has told, is never changed afterwards: look again for the new state.

    Args:
        port: 0 takes a free one.
        token: see the attribute.
        tls: serves https with it.
        strict: hold requests and answers to the API document; off, it is fast.
        keepalive_s: between the comments of a watch. The headers of a watch come with its first event or comment.
        base_path: in front of every path, as behind a proxy (`/argo`); others are answered by a proxy's 404 in HTML.
        archives: it has an archive. One without says only to those who ask for the number that a list goes on.
        counts: it knows how to ask for that number; older servers do not, and always say that a list goes on.
        delay_s: how long every answer but a watch takes.
        auto: each workflow goes Running and Succeeded by itself, `auto_step_s` after its creation and after that.
        now: tells the time.

    Attributes:
        token: when set, what must stand behind `Bearer `. The version is told to any bearer, as by a real server that
            leaves it to Kubernetes to judge the token.
        requests: every request, in order, those that are made to fail included.
        configmaps: what was applied to ConfigMaps, by (namespace, name). One goes with the workflow that owns it.
        watches_begun: how many watches there ever were.
        problems: what was wrong with requests and answers; `close` raises AssertionError with them.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        strict: bool = True,
        keepalive_s: float = 15.0,
        base_path: str = "",
        delay_s: float = 0.0,
        auto: bool = False,
        auto_step_s: float = AUTO_STEP_S,
        archives: bool = False,
        counts: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.token = token
        self.requests: list[Request] = []
        self.configmaps: dict[tuple[str, str], Json] = {}
        self.problems: list[str] = []
        self._store = ArgoStore(now)
        self._store.archives = archives or not counts
        self._routes = Routes(
            self._store, self.configmaps, self._created, self._disown, self.problems if strict else None
        )
        self._routes.counts = counts
        self._keepalive_s = keepalive_s
        self._base_path = base_path
        self._delay_s = delay_s
        self._auto = auto
        self._auto_step_s = auto_step_s
        self._scripted: list[_Scripted] = []
        self._listener = Listener(self._serve, port, tls)
        self._secure = tls is not None
        self._watches: set[Watch] = set()
        self.watches_begun = 0

    async def start(self) -> None:
        """Serve; after `stop` again on the same port, with the workflows that there were."""
        await self._listener.open()

    async def stop(self) -> None:
        """Be gone: connections end, new ones are refused. What was stored stays."""
        await self._listener.close()

    async def close(self) -> None:
        """Stop, and fail if a request or an answer was not as Argo's API document has it.

        Raises:
            AssertionError: it names what was wrong.
        """
        await self.stop()
        assert not self.problems, "not as Argo's API document has it:\n" + "\n".join(self.problems)

    async def __aenter__(self) -> Self:
        """Serve."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close. A test that has failed already keeps its own reason."""
        await (self.close() if error is None else self.stop())

    @property
    def port(self) -> int:
        """Where it serves."""
        return self._listener.port

    @property
    def url(self) -> str:
        """Where it serves, without a slash at the end."""
        return f"{'https' if self._secure else 'http'}://127.0.0.1:{self.port}{self._base_path}"

    @property
    def templates(self) -> set[tuple[str, str]]:
        """(namespace, name) of the WorkflowTemplates that exist; those of the whole cluster as ("", name)."""
        return self._store.templates

    @property
    def watches(self) -> int:
        """How many watches are open: from then on each hears of every change."""
        return len(self._watches)

    def workflow(self, namespace: str, name: str) -> Json | None:
        """The workflow, live or archived."""
        return self._store.find(namespace, name)

    def workflows(self) -> list[Json]:
        """Every live workflow, in the order of creation."""
        return self._store.all()

    def put(self, workflow: Json) -> Json:
        """A workflow that somebody else creates; `metadata.namespace` and `metadata.name` are needed."""
        return self._store.put(workflow)

    def advance(
        self,
        namespace: str,
        name: str,
        *,
        phase: str | None = None,
        progress: str | None = None,
        message: str | None = None,
        **status: Any,
    ) -> None:
        """Change a live workflow's status as the controller does: with the labels and times that belong to the phase.

        From a final phase back to another one is what `argo retry` does: a new `startedAt`.

        Args:
            namespace: of the workflow.
            name: of the workflow.
            phase: Pending, Running, Succeeded, Failed or Error; None leaves it.
            progress: `N/M`; None leaves it.
            message: None leaves it.
            **status: any other member of the status, such as `outputs`, or a time in place of the present one.
        """
        given = {"phase": phase, "progress": progress, "message": message}
        self._store.advance(namespace, name, {key: text for key, text in given.items() if text is not None} | status)

    def resubmit(self, namespace: str, name: str) -> str:
        """Somebody runs a workflow once more under another name, with its labels, as `argo resubmit`; returns it."""
        copy = self._store.resubmit(namespace, name)
        self._created(copy)
        copied: str = copy["metadata"]["name"]
        return copied

    def delete(self, namespace: str, name: str) -> None:
        """Somebody deletes a live workflow: watchers see DELETED, its ConfigMaps go."""
        self._disown(self._store.delete(namespace, name))

    def archive(self, namespace: str, name: str, *, listed: bool = False) -> None:
        """A live workflow's ttl ends: watchers see DELETED, and a get still finds it.

        Args:
            namespace: of the workflow.
            name: of the workflow.
            listed: lists have it too, as those of a server do that reads the archive for them.
        """
        self._disown(self._store.archive(namespace, name, listed=listed))

    def fail_next(self, *failures: Failure, path: str = "", method: str = "") -> None:
        """Each of the next requests that match fails in one of these ways, in this order.

        Args:
            *failures: made by the functions of this module.
            path: must be part of the request's path.
            method: must be the request's, if it is given.
        """
        self._scripted += [_Scripted(failure, path, method) for failure in failures]

    def break_watches(self, how: BreakKind) -> None:
        """End every watch that is open.

        Args:
            how: `eof`: as when Kubernetes closes it, an error 429 "EOF"; `too_old`: an error 400; `close`: the body
                ends after a whole event; `drop`: the connection breaks in the middle of one.
        """
        for watch in tuple(self._watches):
            watch.end(how)

    def forget_versions(self) -> None:
        """Every resource version so far is too old to watch from."""
        self._store.forget()

    def _disown(self, workflow: Json) -> None:
        """What only this workflow owns is collected with it."""
        uid = workflow["metadata"]["uid"]
        for key, configmap in tuple(self.configmaps.items()):
            owners = configmap["metadata"].get("ownerReferences") or []
            if owners and all(owner["uid"] == uid for owner in owners):
                del self.configmaps[key]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        try:
            while (request := await connection.receive()) is not None and await self._exchange(connection, request):
                pass
        except OSError:
            pass  # the client has gone
        except h11.RemoteProtocolError as error:
            self.problems.append(f"a client does not speak HTTP: {error}")

    async def _exchange(self, connection: Connection, request: Request) -> bool:
        """Answer one request; returns whether the connection is good for another."""
        base = self._base_path
        below = request.path.startswith(f"{base}/")
        if below:
            request = request._replace(
                path=request.path.removeprefix(base), segments=request.segments[base.count("/") :]
            )
        self.requests.append(request)
        failure = self._next_failure(request)
        if failure is not None:
            return await self._fail(connection, request, failure)
        if below and self._routes.is_watch(request):
            await self._watch(connection, request)
            return False
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        await connection.answer(self._routes.answer(request, self.token) if below else _PROXY_ANSWER)
        return True

    async def _fail(self, connection: Connection, request: Request, failure: Failure) -> bool:
        if failure.how == "answer":
            await connection.answer(failure.answer)
            return True
        if failure.how == "hang":
            await connection.left()
        if failure.how == "drop_after" and not self._routes.is_watch(request):
            self._routes.answer(request, self.token)
        connection.abort()
        return False

    async def _watch(self, connection: Connection, request: Request) -> None:
        watch = Watch(
            connection,
            event_stream=request.headers.get("accept") == "text/event-stream",
            keepalive_s=self._keepalive_s,
            check=self._routes.check_event,
        )
        try:
            view, beginning = self._routes.view(request, self.token)
        except Refusal as refusal:
            await watch.refuse(refusal)
            return
        for change in beginning:
            watch.tell(change)
        self._store.listeners.add(watch.tell)
        self._watches.add(watch)
        self.watches_begun += 1
        try:
            await watch.run(view)
        finally:
            self._store.listeners.discard(watch.tell)
            self._watches.discard(watch)

    def _next_failure(self, request: Request) -> Failure | None:
        for index, scripted in enumerate(self._scripted):
            if scripted.path in request.path and scripted.method in {"", request.method}:
                del self._scripted[index]
                return scripted.failure
        return None

    def _created(self, workflow: Json) -> None:
        if self._auto:
            metadata = workflow["metadata"]
            loop = asyncio.get_running_loop()
            loop.call_later(self._auto_step_s, self._step, metadata["namespace"], metadata["name"], "Running", "0/1")
            loop.call_later(
                2 * self._auto_step_s, self._step, metadata["namespace"], metadata["name"], "Succeeded", "1/1"
            )

    def _step(self, namespace: str, name: str, phase: str, progress: str) -> None:
        with suppress(KeyError):  # it may have been deleted
            self.advance(namespace, name, phase=phase, progress=progress)


async def _serve_until_told(argo: FakeArgo) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with argo:
        sys.stdout.write(f"{argo.url}\n")
        sys.stdout.flush()
        while not told.is_set():
            argo.requests.clear()  # nobody looks at them here
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await told.wait()


def main() -> None:
    """Serve as a program, until SIGTERM or SIGINT; the first line of the output is the URL."""
    parser = argparse.ArgumentParser(prog="argo_server", description="A fake Argo Server, without any check of types.")
    parser.add_argument("--port", type=int, default=0, help="on loopback; a free one if it is not given")
    parser.add_argument("--auto", action="store_true", help="every workflow goes Running and Succeeded by itself")
    parser.add_argument("--step", type=float, default=AUTO_STEP_S, metavar="SECONDS", help="between its phases then")
    parser.add_argument(
        "--template",
        action="append",
        default=[],
        metavar="NAMESPACE/NAME",
        help="a WorkflowTemplate that exists; /NAME is one of the cluster; may be repeated",
    )
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="what each answer takes")
    given = parser.parse_args()
    argo = FakeArgo(port=given.port, auto=given.auto, auto_step_s=given.step, delay_s=given.delay, strict=False)
    for template in given.template:
        namespace, _, name = template.rpartition("/")
        argo.templates.add((namespace, name))
    gc.disable()  # ten thousands of workflows live for ever: to walk over them again and again costs and finds nothing
    asyncio.run(_serve_until_told(argo))


if __name__ == "__main__":
    main()
