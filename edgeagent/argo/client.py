"""The Argo Server's client: creates, gets, lists and watches workflows.

Nothing is retried here: the caller knows whether a request may be repeated, and how long to wait. A request that failed
or was cancelled may have taken effect all the same.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec

from edgeagent import __version__
from edgeagent.argo.access import ArgoAccess
from edgeagent.argo.connections import Connections, HttpAnswer, new_connection, read, unavailable
from edgeagent.argo.failures import failure, not_json, stream_failure, watch_failure
from edgeagent.argo.stream import WatchParser
from edgeagent.argo.wire import Version, WatchEvent, Workflow, WorkflowList
from edgeagent.common.foreign import line
from edgeagent.errors import EngineRefused, EngineUnavailable

T = TypeVar("T")

MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_PAGE_BYTES = 32 * 1024 * 1024
MAX_PAGES = 400
# Argo sends something at least every 15 s, but the headers only with the first of it.
WATCH_READ_TIMEOUT_S = 45.0

# The share of a request's time for the TCP connection and for the TLS handshake. Each has its own time-out, because
# httpcore leaks the connection if it is cancelled in the handshake, as by a time-out for the whole request.
_CONNECT_SHARE = 0.4
_MAX_VERSION_CHARS = 100
_MAX_PORT = 65535
# The fields that `wire` reads of a workflow. Without this selection each answer has every node of the workflow.
_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "metadata.resourceVersion",
    "metadata.creationTimestamp",
    "metadata.labels",
    "metadata.annotations",
    "spec.workflowTemplateRef.name",
    "status.phase",
    "status.progress",
    "status.message",
    "status.startedAt",
    "status.finishedAt",
    "status.outputs.parameters",
)
_GET_FIELDS = ",".join(_FIELDS)
_LIST_FIELDS = ",".join(["metadata", *(f"items.{field}" for field in _FIELDS)])
_WATCH_FIELDS = ",".join(["result.type", *(f"result.object.{field}" for field in _FIELDS)])

# InvalidURL: a URL may be too long, since a server chooses the length of the text that continues a list.
_FAILED = (httpx.HTTPError, httpx.InvalidURL, OSError)

_encoder = msgspec.json.Encoder()
# Without this, a server that has no archive never says that a list continues; with it, it counts the rest, and says so.
_COUNTED = "ext.showRemainingItemCount=true"
_WORKFLOW = msgspec.json.Decoder(Workflow)
_LIST = msgspec.json.Decoder(WorkflowList)
_VERSION = msgspec.json.Decoder(Version)


class ArgoSettings(NamedTuple):
    """The Argo Server's address and credentials.

    Attributes:
        url: `http` or `https`, host, port, and the path below which a proxy publishes the server.
        token_file: see `ArgoAccess`, as for the other files and `insecure`.
        timeout_s: how long a request may take, including the wait for a free connection; for a watch, the connecting.
        max_connections: how many requests run at a time; each watch has a connection of its own in addition.
    """

    url: str
    token_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure: bool = False
    timeout_s: float = 10.0
    max_connections: int = 16


class ArgoClient:
    """A client of one Argo Server: `async with ArgoClient(settings) as client`. It retries nothing.

    Every method raises `EngineUnavailable` (network, TLS, time-out, 408, 429, 5xx, an answer that is not Argo's) or
    `EngineRefused` (any other error of Argo's, and 401, 403 and 413 from any server).
    """

    def __init__(self, settings: ArgoSettings) -> None:
        """Create a client; nothing is read or connected yet.

        Raises:
            EngineUnavailable: the URL cannot be that of an Argo Server.
        """
        url = _base_url(settings.url)
        self._base = str(url).rstrip("/")
        self._headers = [
            (b"Host", url.netloc),
            (b"User-Agent", f"edgeagent/{__version__}".encode()),
            (b"Accept-Encoding", b"identity"),  # decompression could make a small body arbitrarily large
        ]
        self._timeout_s = settings.timeout_s
        self._counts = True  # until a server turns out not to know that selector
        self._access = ArgoAccess(
            self._base,
            token_file=settings.token_file,
            ca_file=settings.ca_file,
            cert_file=settings.cert_file,
            key_file=settings.key_file,
            insecure=settings.insecure,
        )
        self._connections = Connections(settings.max_connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._connections.aclose()

    async def create(self, namespace: str, workflow: Mapping[str, Any], *, dry_run: bool = False) -> Workflow:
        """Create a workflow; the server validates it first.

        Args:
            namespace: must equal the namespace in the workflow's metadata.
            workflow: the whole object.
            dry_run: Kubernetes also checks rights and quota, and stores nothing.

        Raises:
            EngineUnavailable: it may have been created.
            EngineRefused: it was not created.
        """
        url = self._url("workflows", namespace)
        asked = {"namespace": namespace, "workflow": workflow}
        body = _encoder.encode({**asked, "serverDryRun": True} if dry_run else asked)
        return _workflow(url, await self._ask("POST", url, body=body))

    async def get(self, namespace: str, name: str) -> Workflow | None:
        """A workflow, or the newest of this name in the archive; None if neither has it.

        Raises:
            EngineUnavailable, EngineRefused: as for every method.
        """
        url = self._url("workflows", namespace, name)
        try:
            answer = await self._ask("GET", url, {"fields": _GET_FIELDS})
        except EngineRefused as exc:
            if exc.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return _workflow(url, answer)

    async def has_template(self, namespace: str, name: str) -> bool:
        """Whether a WorkflowTemplate exists; with `namespace` "" a ClusterWorkflowTemplate.

        Raises:
            EngineUnavailable, EngineRefused: as for every method.
        """
        segments = ("workflow-templates", namespace) if namespace else ("cluster-workflow-templates",)
        try:
            await self._ask("GET", self._url(*segments, name))
        except EngineRefused as exc:
            if exc.status == httpx.codes.NOT_FOUND:
                return False
            raise
        return True

    async def list(self, namespace: str, *, labels: str, limit: int = 500) -> tuple[builtins.list[Workflow], str]:
        """Every workflow with these labels, archived ones too, and the resource version to watch from.

        A workflow that appears or disappears between two pages may be listed twice or not at all; a watch from the
        resource version, which is the first page's, reports it.

        Args:
            namespace: the namespace to list.
            labels: a Kubernetes label selector.
            limit: workflows per page.

        Raises:
            EngineUnavailable: as for every method; also if there are more than `MAX_PAGES` pages.
            EngineRefused: as for every method.
        """
        url = self._url("workflows", namespace)
        query = {"listOptions.labelSelector": labels, "listOptions.limit": str(limit), "fields": _LIST_FIELDS}
        found: list[Workflow] = []
        resource_version = ""
        for number in range(MAX_PAGES):
            page = await self._page(url, query)
            found.extend(page.items or ())
            if number == 0:
                resource_version = page.metadata.resource_version
            if not page.metadata.continue_:
                return found, resource_version
            query["listOptions.continue"] = page.metadata.continue_
        raise EngineUnavailable(url, f"the list has more than {MAX_PAGES} pages of {limit}")

    async def page(self, namespace: str, *, labels: str, limit: int, continue_: str) -> WorkflowList:
        """One page of `list`, from where the page before says that the list continues; "" for the first.

        Raises:
            EngineUnavailable, EngineRefused: as for every method.
        """
        query = {"listOptions.labelSelector": labels, "listOptions.limit": str(limit), "fields": _LIST_FIELDS}
        more = {"listOptions.continue": continue_} if continue_ else {}
        return await self._page(self._url("workflows", namespace), query | more)

    async def _page(self, url: str, query: Mapping[str, str]) -> WorkflowList:
        """One page of a list.

        Older servers pass field selectors on to Kubernetes, which refuses this one; they page without it.
        """
        if self._counts:
            counted = {**query, "listOptions.fieldSelector": _COUNTED}
            try:
                return _decoded(url, await self._ask("GET", url, counted, max_bytes=MAX_PAGE_BYTES), _LIST)
            except EngineRefused as exc:
                if exc.status != httpx.codes.BAD_REQUEST or "field" not in exc.message:
                    raise
                self._counts = False
        return _decoded(url, await self._ask("GET", url, query, max_bytes=MAX_PAGE_BYTES), _LIST)

    async def watch(
        self, namespace: str, *, labels: str, resource_version: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        """The changes of every workflow with these labels, until the server ends the watch, as it regularly does.

        A watch may end at once, time and again: after an empty one wait a little before the next. A caller that stops
        reading earlier must close it (`contextlib.aclosing`), so that its connection ends then.

        Args:
            namespace: the namespace to watch.
            labels: a Kubernetes label selector.
            resource_version: the version after which changes are sent; "": an ADDED for each existing workflow first.

        Raises:
            WatchExpired: the changes since `resource_version` are no longer available, or soon will not be.
            EngineUnavailable, EngineRefused: as for every method; the watch is over.
        """
        url = self._url("workflow-events", namespace)
        query = {"listOptions.labelSelector": labels, "fields": _WATCH_FIELDS}
        if resource_version:
            query["listOptions.resourceVersion"] = resource_version
        parser = WatchParser(url)
        async with self._open_watch(url, query) as response:
            if response.status_code != httpx.codes.OK:
                await self._end_early(url, response)
                return
            async for part in response.aiter_raw():
                for item in parser.feed(part):
                    if item.error is not None:
                        error = stream_failure(url, item.error)
                        if error is not None:
                            raise error
                        return
                    if item.result is not None:
                        yield item.result
            parser.finish()

    async def check(self) -> str:
        """The server's version, which shows that it is reachable and an Argo Server.

        Raises:
            EngineUnavailable, EngineRefused: as for every method.
        """
        url = self._url("version")
        return line(_decoded(url, await self._ask("GET", url), _VERSION).version, _MAX_VERSION_CHARS)

    async def call(
        self, method: str, *segments: str, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> bytes:
        """Any other call of the server's, its path in segments; returns the answer's body. Raises as every method."""
        encoded = None if body is None else _encoder.encode(body)
        return await self._ask(method, self._url(*segments), query, body=encoded, max_bytes=MAX_PAGE_BYTES)

    def _url(self, *segments: str) -> str:
        for segment in segments:
            if segment in {"", ".", ".."}:  # these would change the path, however they are encoded
                raise EngineRefused(self._base, httpx.codes.BAD_REQUEST, f"{segment!r} is not a valid name")
        return "/".join([self._base, "api/v1", *(quote(segment, safe="") for segment in segments)])

    def _request(
        self,
        method: str,
        url: str,
        query: Mapping[str, str] | None = None,
        *,
        accept: bytes = b"application/json",
        body: bytes | None = None,
        read_timeout_s: float | None = None,
    ) -> httpx.Request:
        """A request as the transports take it, with all headers; faster than httpx builds one."""
        headers = [*self._headers, (b"Accept", accept)]
        authorization = self._access.authorization()
        if authorization:
            headers.append((b"Authorization", authorization))
        if body is not None:
            headers += [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
        return httpx.Request(
            method,
            _parsed(url) if query is None else httpx.URL(f"{url}?{urlencode(query)}"),
            headers=headers,
            stream=httpx.ByteStream(body or b""),
            extensions={"timeout": {"connect": _CONNECT_SHARE * self._timeout_s, "read": read_timeout_s}},
        )

    async def _ask(
        self,
        method: str,
        url: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> bytes:
        """The body of a successful answer."""
        context = self._access.context()
        try:
            request = self._request(method, url, query, body=body)
            async with asyncio.timeout(self._timeout_s), self._connections.borrow(context) as connection:
                answer = await read(url, await connection.handle_async_request(request), max_bytes)
        except _FAILED as exc:
            raise unavailable(url, exc, self._timeout_s) from exc
        if not httpx.codes.is_success(answer.status):
            raise failure(url, answer.status, answer.body, **_hints(answer))
        return answer.body

    @asynccontextmanager
    async def _open_watch(self, url: str, query: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        connection = new_connection(self._access.context())
        try:
            request = self._request("GET", url, query, accept=b"text/event-stream", read_timeout_s=WATCH_READ_TIMEOUT_S)
            yield await connection.handle_async_request(request)
        except _FAILED as exc:
            raise unavailable(url, exc, WATCH_READ_TIMEOUT_S) from exc
        finally:
            await connection.aclose()

    async def _end_early(self, url: str, response: httpx.Response) -> None:
        """Raise the reason why a watch ended before its first item, unless it was a normal end."""
        async with asyncio.timeout(self._timeout_s):
            answer = await read(url, response, MAX_ANSWER_BYTES)
        error = watch_failure(url, answer.status, answer.body, **_hints(answer))
        if error is not None:
            raise error


@functools.lru_cache(maxsize=256)
def _parsed(url: str) -> httpx.URL:
    """Parse a URL, cached: workflows are created in few namespaces, and parsing is a large part of a request's cost."""
    return httpx.URL(url)


def _base_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as exc:
        raise EngineUnavailable("the engine's URL", "it is not a URL") from exc
    if url.port is not None and not 0 < url.port <= _MAX_PORT:
        raise EngineUnavailable("the engine's URL", f"{url.port} is not a port")
    if url.scheme not in {"http", "https"} or not url.host:
        raise EngineUnavailable("the engine's URL", "it must begin with http:// or https:// and a host")
    if url.userinfo or url.query or url.fragment:  # not shown, since it may be a password
        raise EngineUnavailable(
            "the engine's URL", "it has more than host, port and path; a token goes into token_file"
        )
    return url


def _decoded(url: str, body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
        raise not_json(url, body, str(exc)) from exc


def _workflow(url: str, body: bytes) -> Workflow:
    workflow = _decoded(url, body, _WORKFLOW)
    if not workflow.metadata.name:
        raise not_json(url, body, "it contains no workflow")
    return workflow


def _hints(answer: HttpAnswer) -> dict[str, str]:
    """Two headers that explain a failure."""
    return {name.replace("-", "_"): answer.headers.get(name, "") for name in ("retry-after", "location")}
