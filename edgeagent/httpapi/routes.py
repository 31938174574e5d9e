"""The HTTP API (contract section 2): from requests to the ports, and from their results to answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.errors import MessageError
from edgeagent.events.event import Draft
from edgeagent.httpapi.access import Admission
from edgeagent.httpapi.events import batch_weight, drafts, event_id, is_streamed
from edgeagent.httpapi.operator import operator_plans
from edgeagent.httpapi.options import allowed, options_plan
from edgeagent.httpapi.page import page_plans
from edgeagent.httpapi.plan import Plan, UploadPlan, parameters_of
from edgeagent.httpapi.problem import PROMETHEUS, Answer, Refused, json_answer, problem, retry_after
from edgeagent.httpapi.request import Request, percent_decoded
from edgeagent.httpapi.stream import WatchRoutes
from edgeagent.ports.device import DevicePort, ListedTrigger, Place, TriggerQuery
from edgeagent.ports.manage import ManageOrder
from edgeagent.ports.operator import MANAGE, OperatorPort
from edgeagent.wire.messages import State

if TYPE_CHECKING:
    from edgeagent.httpapi.large import LargeEvents
    from edgeagent.httpapi.reception import Reception

_ACCEPTED = 202
_MAX_WAIT_S = 300
_MAX_LIMIT = 1000
# Reports are about 400 bytes each, and 20 KiB at most.
_MAX_LIST_BYTES = 1 << 20
# The limit of a list of triggers, as reports and as text.
_LIST_BYTES = 4 << 20
# The metrics of a hundred rules, as samples and as text.
_METRICS_BYTES = 1 << 20
_BATCH_FACTOR = 16
_MAX_BATCH_BYTES = 4 << 20
_NOT_READY_RETRY_S = 5
_CORRELATION_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PLACE = re.compile(r"([0-9]{1,15})\.([0-9a-f]{32})\.(.{1,128})")
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

_EVENTS = "/v1/events/"
_TRIGGERS = "/v1/triggers/"
# For `OPTIONS *`: what any path here takes.
_ANY_PATH = ("GET", "POST")


class Routes:
    """The calls that one listener offers.

    `access`: None on the Unix socket, whose mode protects it, and which alone has all of the operator's calls. `page`:
    whether TCP offers the status page, and those of the operator's calls that it needs. `stops`: whether a device may
    stop the workflow of a trigger. `large`: takes the large data of events; None: there is none.
    """

    def __init__(
        self,
        device: DevicePort,
        operator: OperatorPort,
        access: Admission | None,
        watch: WatchRoutes,
        *,
        max_event_bytes: int,
        page: bool = True,
        stops: bool = False,
        large: LargeEvents | None = None,
    ) -> None:
        self._device = device
        self._large = large
        self._access = access
        self._operator = operator
        self._max_event_bytes = max_event_bytes
        batch_bytes = max(max_event_bytes, min(_BATCH_FACTOR * max_event_bytes, _MAX_BATCH_BYTES))
        self._exact: dict[str, Mapping[str, Plan]] = {
            "/v1/events": {"POST": Plan(self._post_events, batch_bytes, weigh=batch_weight)},
            "/v1/triggers": {"GET": Plan(self._list_triggers, work_bytes=_LIST_BYTES)},
            "/v1/stats": {"GET": Plan(self._stats)},
            **watch.plans(),
            "/healthz": {"GET": Plan(self._healthz)},
            "/readyz": {"GET": Plan(self._readyz)},
            "/metrics": {"GET": Plan(self._metrics, work_bytes=_METRICS_BYTES)},
        }
        self._below: dict[str, Mapping[str, Plan]] = {
            _EVENTS: {"POST": Plan(self._post_source, max_event_bytes)},
            _TRIGGERS: {"GET": Plan(self._get_trigger, waits=True)},
        }
        if large is not None:
            inline, upload = large.inline_bytes, UploadPlan(self._begin_upload)
            self._below[_EVENTS] = {
                "POST": Plan(self._post_source, inline, upload=upload),
                "PUT": Plan(self._put_source, inline, upload=upload),
            }
        if stops:
            self._below[_TRIGGERS] = {**self._below[_TRIGGERS], "POST": Plan(self._stop_trigger)}
        exact, below = operator_plans(operator, on_tcp=access is not None, page=page)
        self._exact.update(exact)
        self._below.update(below)
        if page:
            self._exact.update(page_plans())

    def plan(self, request: Request) -> Plan:
        """The plan for a request, from its head.

        Raises:
            Refused: 401, 403, 404 or 405.
        """
        if self._access is not None:
            self._access.check(request)
        if request.path == "*" and request.method == "OPTIONS":
            return options_plan(_ANY_PATH, takes_events=False)
        methods = self._exact.get(request.path) or self._find_below(request.path)
        if methods is None:
            raise Refused(404, f"{request.path}: there is nothing here")
        plan = methods.get("GET" if request.method == "HEAD" else request.method)
        if plan is None and request.method == "OPTIONS":
            return options_plan(methods, takes_events=request.path.startswith(_EVENTS[:-1]))
        if plan is None:
            takes = allowed(methods)
            raise Refused(405, f"{request.path}: takes {takes}", ((b"allow", takes.encode()),))
        return plan if plan.upload is None else self._with_upload(request, plan, plan.upload)

    def _with_upload(self, request: Request, plan: Plan, upload: UploadPlan) -> Plan:
        if not is_streamed(request):
            return msgspec.structs.replace(plan, max_body_bytes=self._max_event_bytes, upload=None)
        always = request.method == "PUT" and b"content-range" in request.headers
        return msgspec.structs.replace(plan, upload=msgspec.structs.replace(upload, always=always)) if always else plan

    def _begin_upload(self, request: Request, size: int | None, wake: Callable[[], None]) -> Reception:
        assert self._large is not None  # noqa: S101  else no plan has an upload
        return self._large.begin(request, _source_of(request), size, wake)

    def _find_below(self, path: str) -> Mapping[str, Plan] | None:
        for prefix, methods in self._below.items():
            if path.startswith(prefix):
                return methods
        return None

    async def _post_source(self, request: Request, body: bytes) -> Answer:
        return await self._accept(drafts(request, body, _source_of(request), self._max_event_bytes))

    async def _put_source(self, request: Request, body: bytes) -> Answer:
        [event] = drafts(request, body, _source_of(request), self._max_event_bytes)
        event.id = event_id(request, event)
        return await self._accept([event])

    async def _post_events(self, request: Request, body: bytes) -> Answer:
        events = drafts(request, body, None, self._max_event_bytes)
        del body  # the events hold the parts that they need, and the disk may take long
        return await self._accept(events)

    async def _accept(self, events: list[Draft]) -> Answer:
        accepted = await self._device.accept(events) if events else []
        return json_answer({"accepted": accepted}, _ACCEPTED)

    async def _list_triggers(self, request: Request, _body: bytes) -> Answer:
        parameters = parameters_of(request, {"source", "rule", "state", "limit", "after"})
        state = parameters.get("state")
        if state and state not in set(State):
            raise MessageError("query", "state", f"must be one of {', '.join(State)}")
        limit = parameters.get("limit") or "100"
        if not re.fullmatch(r"[0-9]{1,4}", limit, re.ASCII) or not 1 <= int(limit) <= _MAX_LIMIT:
            raise MessageError("query", "limit", f"must be 1 to {_MAX_LIMIT}")
        query = TriggerQuery(
            source=parameters.get("source", ""),
            rule=parameters.get("rule", ""),
            state=State(state) if state else None,
            limit=int(limit),
            after=_place(parameters.get("after", "")),
        )
        return _listed(await self._device.triggers(query), query.limit)

    async def _get_trigger(self, request: Request, _body: bytes) -> Answer:
        wait = parameters_of(request, {"wait"}).get("wait") or "0"
        if not re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,6})?", wait, re.ASCII) or float(wait) > _MAX_WAIT_S:
            raise MessageError("query", "wait", f"must be 0 to {_MAX_WAIT_S} (seconds)")
        correlation_id = request.path.removeprefix(_TRIGGERS)
        report = None
        if _CORRELATION_ID.fullmatch(correlation_id):
            report = await self._device.trigger(correlation_id, float(wait))
        if report is None:
            raise Refused(404, f"{correlation_id}: no trigger with this correlation id is known")
        return json_answer(report)

    async def _stop_trigger(self, request: Request, _body: bytes) -> Answer:
        correlation_id, slash, action = request.path.removeprefix(_TRIGGERS).partition("/")
        if (slash + action) != "/stop" or not _CORRELATION_ID.fullmatch(correlation_id):
            raise Refused(404, f"{request.path}: POST is for {_TRIGGERS}{{correlation_id}}/stop")
        made = await self._operator.perform(MANAGE, ManageOrder("stop", correlation_id))
        return json_answer(made, _ACCEPTED)

    async def _stats(self, _request: Request, _body: bytes) -> Answer:
        return json_answer(self._device.stats())

    async def _metrics(self, _request: Request, _body: bytes) -> Answer:
        return Answer(200, await self._device.metrics(), PROMETHEUS)

    async def _healthz(self, _request: Request, _body: bytes) -> Answer:
        return json_answer({"status": "live"})

    async def _readyz(self, _request: Request, _body: bytes) -> Answer:
        reason = self._device.not_ready()
        if reason is not None:
            return problem(503, reason, retry_after(_NOT_READY_RETRY_S))
        # The way beyond this machine does not decide whether events can be accepted here.
        canary = self._device.canary()
        return json_answer({"status": "ready"} if canary is None else {"status": "ready", "canary": canary})


def _source_of(request: Request) -> str:
    encoded = request.path.removeprefix(_EVENTS)
    if _BROKEN_PERCENT.search(encoded):
        raise MessageError("event", "source", "has a % without two hexadecimal digits; write it as %25")
    return percent_decoded(encoded, "source")


def _place(text: str) -> Place | None:
    """The place in the list that `next` of an earlier answer names; None for its beginning."""
    if not text:
        return None
    if (match := _PLACE.fullmatch(text)) is None:
        raise MessageError("query", "after", "must be `next` of an earlier answer")
    return Place(int(match[1]), match[3], match[2])


def _listed(found: Sequence[ListedTrigger], limit: int) -> Answer:
    """The answer with as many reports as fit into `_MAX_LIST_BYTES`; `truncated` says whether some are left out.

    `next`: where the list continues; left out when it is known to have ended.
    """
    encoded: list[msgspec.Raw] = []
    size = 0
    for report, _ in found:
        text = msgspec.json.encode(report)
        size += len(text)
        if size > _MAX_LIST_BYTES:
            break
        encoded.append(msgspec.Raw(text))
    answer: dict[str, Any] = {"triggers": encoded}
    if len(encoded) < len(found):
        answer["truncated"] = True
    if encoded and (len(encoded) < len(found) or len(found) >= limit):
        place = found[len(encoded) - 1].place
        answer["next"] = f"{place.accepted_ms}.{place.correlation_id}.{place.event_id}"
    return json_answer(answer)
