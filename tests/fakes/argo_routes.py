"""What the fake Argo Server answers to which request, without any connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tests.fakes import argo_document as document
from tests.fakes.argo_failures import JSON_TYPE, Answer, refusal_body
from tests.fakes.argo_http import Request
from tests.fakes.argo_rules import NOT_FOUND, UNAUTHENTICATED, Fields, Json, Refusal, Selector, invalid
from tests.fakes.argo_store import OPERATIONS, ArgoStore, Change, cleaned, cleaned_list
from tests.fakes.argo_watch import View

VERSION = {
    "version": "v4.1.2",
    "buildDate": "2026-08-21T00:00:00Z",
    "gitCommit": "f016ad89eb26",
    "gitTag": "v4.1.2",
    "gitTreeState": "clean",
    "goVersion": "go1.26.0",
    "compiler": "gc",
    "platform": "linux/amd64",
}
# The one field selector that a list of ours has: the server then counts what remains, and pages.
_COUNTED = "ext.showRemainingItemCount=true"
_SCHEMES = ("Bearer ", "Basic ")
_APPLY = "application/apply-patch+yaml"
_REASONS = {400: "BadRequest", 401: "Unauthorized", 404: "NotFound", 415: "UnsupportedMediaType", 422: "Invalid"}


class Routes:
    """Answers requests from a store.

    Args:
        store: the workflows.
        configmaps: what was applied, by (namespace, name).
        created: told of each workflow that a request has made.
        deleted: told of each workflow that a request has deleted.
        problems: takes what is not as Argo's API document has it; None when nobody wants to know.
    """

    def __init__(
        self,
        store: ArgoStore,
        configmaps: dict[tuple[str, str], Json],
        created: Callable[[Json], None],
        deleted: Callable[[Json], None],
        problems: list[str] | None,
    ) -> None:
        self.counts = True  # older servers hand field selectors to Kubernetes, which knows none of this name
        self._store = store
        self._configmaps = configmaps
        self._created = created
        self._deleted = deleted
        self._problems = problems

    @staticmethod
    def is_watch(request: Request) -> bool:
        """Whether the answer is a stream of changes: see `view`."""
        return request.method == "GET" and request.segments[:3] == ("api", "v1", "workflow-events")

    def view(self, request: Request, token: str | None) -> tuple[View, list[Change]]:
        """What a watch is to show, and with what it begins.

        Raises:
            Refusal: the token, the selector or the resource version.
        """
        self._check_query(request, document.WATCH_QUERY)
        _authorise(request, token)
        namespace = request.segments[3]
        view = View(
            namespace,
            Selector(request.query.get("listOptions.labelSelector", "")),
            Fields(request.query.get("fields", ""), "result.object."),
        )
        return view, self._store.since(request.query.get("listOptions.resourceVersion", ""))

    def check_event(self, event: Json) -> None:
        """Hold one event of a watch to the document."""
        if self._problems is not None:
            self._note("a watch", document.event_problems(event))

    def answer(self, request: Request, token: str | None) -> Answer:
        """Answer everything that is no watch."""
        kubernetes = request.segments[2:3] == ("namespaces",)
        try:
            return self._kubernetes(request, token) if kubernetes else self._argo(request, token)
        except Refusal as refusal:
            if kubernetes:
                return _kubernetes_refusal(refusal)
            return Answer(refusal.status, refusal_body(refusal.code, refusal.message))

    def _argo(self, request: Request, token: str | None) -> Answer:
        match (request.method, *request.segments):
            case ("GET", "api", "v1", "version"):
                _check_scheme(request, token)
                return self._told(request, VERSION, document.version_problems)
            case ("POST", "api", "v1", "workflows", namespace):
                _authorise(request, token)
                return self._create(request, namespace)
            case ("GET", "api", "v1", "workflows", namespace):
                _authorise(request, token)
                return self._list(request, namespace)
            case (_, "api", "v1", "workflows", namespace, name, *rest):
                _authorise(request, token)
                return self._workflow(request, namespace, name, rest)
            case ("GET", "api", "v1", "workflow-templates", namespace, name):
                _authorise(request, token)
                return self._template(namespace, name)
            case ("GET", "api", "v1", "cluster-workflow-templates", name):
                _authorise(request, token)
                return self._template("", name)
        raise self._unknown(request)

    def _workflow(self, request: Request, namespace: str, name: str, rest: list[str]) -> Answer:
        match (request.method, *rest):
            case ("GET",):
                return self._get(request, namespace, name)
            case ("DELETE",):
                self._check_query(request, frozenset())
                self._deleted(self._store.remove(namespace, name))
                return Answer(200, b"{}")
            case ("PUT", operation) if operation in OPERATIONS:
                return self._operate(request, namespace, name, operation)
        raise self._unknown(request)

    def _unknown(self, request: Request) -> Refusal:
        self._note(f"{request.method} {request.path}", ["the fake knows no such call"])
        return Refusal(404, NOT_FOUND, "Not Found")

    def _create(self, request: Request, namespace: str) -> Answer:
        self._check_query(request, frozenset())
        if self._problems is not None:
            self._note("POST", document.request_problems(request.body))
        if not isinstance(request.body, dict):
            raise invalid("invalid character looking for beginning of value")
        workflow = self._store.create(namespace, request.body, request.size_bytes)
        if "resourceVersion" in workflow["metadata"]:
            self._created(workflow)
        return self._told(request, workflow, document.workflow_problems)

    def _get(self, request: Request, namespace: str, name: str) -> Answer:
        self._check_query(request, document.GET_QUERY)
        fields = Fields(request.query.get("fields", ""))
        workflow = cleaned(self._store.get(namespace, name), fields)
        return self._told(request, workflow, document.workflow_problems)

    def _operate(self, request: Request, namespace: str, name: str, operation: str) -> Answer:
        self._check_query(request, frozenset())
        asked = request.body
        if self._problems is not None:
            self._note(f"PUT {request.path}", document.operation_problems(operation, asked))
        message = asked.get("message", "") if isinstance(asked, dict) else ""
        return self._told(request, self._store.operate(namespace, name, operation, message), document.workflow_problems)

    def _template(self, namespace: str, name: str) -> Answer:
        if (namespace, name) not in self._store.templates:
            kind = "workflowtemplates" if namespace else "clusterworkflowtemplates"
            raise Refusal(404, NOT_FOUND, f'{kind}.argoproj.io "{name}" not found')
        return Answer(200, msgspec.json.encode({"metadata": {"name": name, "namespace": namespace}, "spec": {}}))

    def _list(self, request: Request, namespace: str) -> Answer:
        self._check_query(request, document.LIST_QUERY)
        query = request.query
        selector = Selector(query.get("listOptions.labelSelector", ""))
        limit, offset = _number(query, "listOptions.limit"), _number(query, "listOptions.continue")
        wanted = query.get("listOptions.fieldSelector", "")
        if wanted and not (self.counts and wanted == _COUNTED):
            raise invalid(f"field label not supported: {wanted.partition('=')[0]}")
        page = self._store.page(namespace, selector, limit, offset, counted=bool(wanted))
        return self._told(request, cleaned_list(page, Fields(query.get("fields", ""))), document.list_problems)

    def _told(self, request: Request, told: Json, problems: Callable[[Json], Iterable[str]]) -> Answer:
        if self._problems is not None:
            self._note(f"{request.method} {request.path}", problems(told))
        return Answer(200, msgspec.json.encode(told))

    def _kubernetes(self, request: Request, token: str | None) -> Answer:
        _authorise(request, token)
        match (request.method, *request.segments):
            case ("PATCH", "api", "v1", "namespaces", namespace, "configmaps", name):
                return self._apply(request, namespace, name)
            case ("GET", "api", "v1", "namespaces", namespace, "configmaps", name):
                return self._configmap(namespace, name)
        self._note(f"{request.method} {request.path}", ["the fake knows no such call"])
        raise Refusal(404, NOT_FOUND, "the server could not find the requested resource")

    def _configmap(self, namespace: str, name: str) -> Answer:
        found = self._configmaps.get((namespace, name))
        if found is None:
            raise Refusal(404, NOT_FOUND, f'configmaps "{name}" not found')
        return Answer(200, msgspec.json.encode(found))

    def _apply(self, request: Request, namespace: str, name: str) -> Answer:
        """Server-side apply by one manager, so that what is applied replaces what was."""
        applied = request.body
        if request.headers.get("content-type") != _APPLY:
            raise Refusal(415, 0, f"the body of the request was in an unknown format - accepted media types: {_APPLY}")
        if not request.query.get("fieldManager"):
            raise Refusal(422, 0, "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: for apply patch")
        if not isinstance(applied, dict) or (applied.get("apiVersion"), applied.get("kind")) != ("v1", "ConfigMap"):
            raise Refusal(400, 0, "apiVersion and kind must be set: v1, ConfigMap")
        metadata = {"name": name, "namespace": namespace, **(applied.get("metadata") or {})}
        if (metadata["namespace"], metadata["name"]) != (namespace, name):
            raise Refusal(400, 0, "the name or namespace of the object does not match the one on the URL")
        self._check_query(request, frozenset({"fieldManager", "force", "dryRun"}))
        if self._problems is not None:
            self._note(f"PATCH {request.path}", document.configmap_problems(applied))
        status = 200 if (namespace, name) in self._configmaps else 201
        if request.query.get("dryRun") == "All":
            return Answer(status, msgspec.json.encode(applied))
        self._configmaps[namespace, name] = {**applied, "metadata": metadata}
        return Answer(status, msgspec.json.encode(self._configmaps[namespace, name]))

    def _check_query(self, request: Request, known: frozenset[str]) -> None:
        if self._problems is not None and (unknown := request.query.keys() - known):
            self._note(f"{request.method} {request.path}", [f"unknown in the query: {', '.join(sorted(unknown))}"])

    def _note(self, where: str, problems: Iterable[str]) -> None:
        if self._problems is not None:
            self._problems += [f"{where}: {problem}" for problem in problems]


def _check_scheme(request: Request, token: str | None) -> None:
    """What Argo itself looks at, in its mode `client`."""
    if token is not None and not request.headers.get("authorization", "").startswith(_SCHEMES):
        raise Refusal(401, UNAUTHENTICATED, "token not valid. see https://argo-workflows.readthedocs.io/en/latest/faq/")


def _authorise(request: Request, token: str | None) -> None:
    """What Argo looks at, and Kubernetes when Argo comes to it with the token."""
    _check_scheme(request, token)
    if token is not None and request.headers.get("authorization") != f"Bearer {token}":
        raise Refusal(401, UNAUTHENTICATED, "Unauthorized")


def _number(query: dict[str, str], name: str) -> int:
    text = query.get(name) or "0"
    if not text.isdecimal():
        raise invalid(f'{name}: strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _kubernetes_refusal(refusal: Refusal) -> Answer:
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": refusal.message,
        "reason": _REASONS[refusal.status],
        "code": refusal.status,
    }
    return Answer(refusal.status, msgspec.json.encode(body), (JSON_TYPE,))
