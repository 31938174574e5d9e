"""The body of the present request: in memory, or on its way to the spool if it is large and its plan lets it be."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from edgeagent.errors import EdgeAgentError
from edgeagent.httpapi.body import Body
from edgeagent.httpapi.plan import Plan, UploadPlan
from edgeagent.httpapi.problem import Answer, problem_for
from edgeagent.httpapi.request import Request

if TYPE_CHECKING:
    from edgeagent.httpapi.reception import Reception

# A large body may take as long as it likes, if in the time that a request may take to arrive this much of it comes.
_PROGRESS_BYTES: Final = 4 << 10
# What a body on its way to the spool holds: what waits for the disk, and what one read of the socket brings.
_RECEPTION_BYTES: Final = 2 << 20


class Receiving:
    """The body of one request after the other. Owns what came of the present one, until `work`, and why it is refused.

    Attributes:
        refusal: the answer to a request that is refused; None while it is not.
    """

    __slots__ = ("_body", "_changed", "_fresh_bytes", "_head", "_plan", "_reception", "_release", "_reserve", "refusal")

    def __init__(
        self, reserve: Callable[[int], None], release: Callable[[], None], changed: Callable[[], None]
    ) -> None:
        """`reserve` raises the request's reservation to so many bytes in total; `release` frees it.

        `changed` is called when `refusal` or `is_congested` has changed without a call from here.
        """
        self._reserve = reserve
        self._release = release
        self._changed = changed
        self._reception: Reception | None = None
        self._body: Body | None = None
        self._fresh_bytes = 0
        self.refusal: Answer | None = None

    @property
    def is_active(self) -> bool:
        """Whether a body is coming that is taken."""
        return self._body is not None or self._reception is not None

    @property
    def is_congested(self) -> bool:
        """Whether nothing should be read from the client now."""
        return self._reception is not None and self._reception.is_congested

    def begin(self, head: Request, plan: Plan) -> None:
        """A request begins: reserve room for what its head announces, or refuse it."""
        self._head, self._plan = head, plan
        length = head.headers.get(b"content-length")
        upload = plan.upload
        try:
            if upload is not None and (upload.always or int(length or b"0") > plan.max_body_bytes):
                self._begin_upload(upload, int(length) if length is not None else None)
            else:
                self._body = Body(head, plan, self._reserve)
        except EdgeAgentError as exc:
            self.refusal = problem_for(exc)

    def take(self, data: bytes | bytearray) -> bool:
        """Add a part that arrived, or refuse the request. Whether a large body has come far enough to get more time."""
        upload, body = self._plan.upload, self._body
        try:
            if body is not None and upload is not None and body.size_bytes + len(data) > self._plan.max_body_bytes:
                self._body = None
                self._begin_upload(upload, None).take(body.hand_over())
            if self._reception is not None:
                self._reception.take(data)
            elif self._body is not None:
                self._body.take(data)
        except EdgeAgentError as exc:
            self.refuse(exc)
            return False
        self._fresh_bytes += len(data)
        if self._reception is None or self._fresh_bytes < _PROGRESS_BYTES:
            return False
        self._fresh_bytes = 0
        return True

    def whole(self, head: Request, plan: Plan, data: bytes) -> Coroutine[Any, Any, Answer] | None:
        """What answers a request that is here whole; None if it is refused."""
        self.begin(head, plan)
        self.take(data)
        return self.work()

    def work(self) -> Coroutine[Any, Any, Answer] | None:
        """The body is complete: what answers the request; None if it is refused."""
        if self.refusal is not None:
            return None
        if self._reception is not None:
            reception, self._reception = self._reception, None
            return reception.answer()
        body, self._body = self._body, None
        try:
            return self._plan.answer(self._head, body.whole() if body is not None else b"")
        except EdgeAgentError as exc:
            self.refusal = problem_for(exc)
            return None

    def refuse(self, error: EdgeAgentError) -> None:
        """Take no more of the present request, and forget what came of it."""
        self.abandon()
        self._release()
        self.refusal = problem_for(error)

    def abandon(self) -> None:
        """The rest will not come, or the request is answered: the next one may begin."""
        self._body = self.refusal = None
        self._fresh_bytes = 0
        if self._reception is not None:
            self._reception.abandon()
            self._reception = None

    def _begin_upload(self, upload: UploadPlan, size: int | None) -> Reception:
        self._reserve(self._plan.work_bytes + max(_RECEPTION_BYTES, self._plan.max_body_bytes))
        self._reception = upload.begin(self._head, size, self._news)
        return self._reception

    def _news(self) -> None:
        """The disk took more of the body, or takes no more of it."""
        if self._reception is None:
            return
        if (error := self._reception.error) is not None:
            self.refuse(error)
        self._changed()
