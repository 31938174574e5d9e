"""Calls of Pub/Sub's REST API over httpx. Nothing is retried here, but a call whose token is no longer accepted."""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple

import httpx

from edgeagent import __version__
from edgeagent.common.causes import first_cause
from edgeagent.common.foreign import line
from edgeagent.errors import Denied, Unavailable, UplinkError
from edgeagent.links.failures import connection_failure
from edgeagent.pubsub.credentials import Credentials, ServiceClock
from edgeagent.pubsub.outcomes import JudgedAnswer, Verdict, judged
from edgeagent.pubsub.resources import SERVICE, call_path

# Four publishing requests, a pull, and one that acknowledges or extends.
MAX_CONNECTIONS = 8
# A message has at most 10 MB, and its base64 a third more: an answer may have one of the largest, or many small ones.
MAX_ANSWER_BYTES = 16 << 20
_KEEPALIVE_S = 240.0
_MAX_REASON_CHARS = 300


class RestAnswer(NamedTuple):
    """An answer: what it means, and its body."""

    judged: JudgedAnswer
    body: bytes


class AnswerTooLarge(Unavailable):
    """An answer has more than `MAX_ANSWER_BYTES`: a smaller one is to be asked for."""


class PubSubClient:
    """Owns the connections to the service. Must be closed with `aclose`."""

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        clock: ServiceClock,
        *,
        base_url: str = SERVICE,
        context: ssl.SSLContext | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """Nothing is connected yet.

        Args:
            address: the configured URL, which errors name.
            credentials: makes the bearer of each request.
            clock: learns the service's time from each answer.
            base_url: the service's scheme, host and port.
            context: for `https`.
            timeout_s: how long connecting may take, and an answer that need not be waited for.
        """
        self._address = address
        self._credentials = credentials
        self._clock = clock
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._transport = httpx.AsyncHTTPTransport(
            verify=context if context is not None else False,
            trust_env=False,
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS,
                keepalive_expiry=_KEEPALIVE_S,
            ),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def call(self, verb: str, resource: str, body: bytes, *, wait_s: float = 0.0) -> RestAnswer:
        """Make a call, with a new token if the present one is not accepted.

        Args:
            verb: such as `publish`.
            resource: such as `projects/P/topics/T`.
            body: JSON.
            wait_s: how much longer the answer may take than `timeout_s`.

        Raises:
            Unavailable: there was no answer; the call may have taken effect. `AnswerTooLarge`: it was too large.
            Denied: the credentials cannot be used, or are not accepted.
        """
        return await self._accepted("POST", verb, resource, body, wait_s)

    async def look(self, resource: str) -> RestAnswer:
        """Read a topic or a subscription; raises as `call`."""
        return await self._accepted("GET", "", resource, b"", 0.0)

    async def _accepted(self, method: str, verb: str, resource: str, body: bytes, wait_s: float) -> RestAnswer:
        answer = await self._called(method, verb, resource, body, wait_s)
        if answer.judged.verdict is Verdict.UNAUTHENTICATED:
            self._credentials.refused()
            answer = await self._called(method, verb, resource, body, wait_s)
        if answer.judged.verdict is Verdict.UNAUTHENTICATED:
            raise Denied(self._address, f"{answer.judged.reason} (they come from {self._credentials.source()})")
        return answer

    async def _called(self, method: str, verb: str, resource: str, body: bytes, wait_s: float) -> RestAnswer:
        headers = {
            "Host": httpx.URL(self._base_url).netloc.decode(),
            "User-Agent": f"edgeagent/{__version__}",
            "Accept-Encoding": "identity",  # decompression could make a small body arbitrarily large
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }
        authorization = await self._credentials.authorization()
        if authorization:
            headers["Authorization"] = authorization.decode("ascii")
        answer_s = self._timeout_s + wait_s
        timeout = {"connect": self._timeout_s, "read": answer_s, "write": self._timeout_s, "pool": answer_s}
        request = httpx.Request(
            method,
            self._base_url + call_path(resource, verb),
            headers=headers,
            stream=httpx.ByteStream(body),
            extensions={"timeout": timeout},
        )
        try:
            async with asyncio.timeout(2 * self._timeout_s + answer_s):
                response = await self._transport.handle_async_request(request)
                try:
                    content = await self._read(response)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, OSError) as exc:
            raise _failure(self._address, exc, answer_s) from exc
        self._clock.note(response.headers.get("date", ""))
        return RestAnswer(judged(verb, resource, response.status_code, content), content)

    async def _read(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for part in response.aiter_raw():
            content += part
            if len(content) > MAX_ANSWER_BYTES:
                raise AnswerTooLarge(self._address, f"an answer has more than {MAX_ANSWER_BYTES} bytes")
        return bytes(content)


def base_url(emulator: str) -> str:
    """The service's address; an emulator's, if `PUBSUB_EMULATOR_HOST` (`emulator`) names one."""
    return f"http://{emulator.removeprefix('http://').rstrip('/')}" if emulator else SERVICE


def _failure(address: str, exc: Exception, answer_s: float) -> UplinkError:
    """Why there was no answer."""
    if isinstance(exc, httpx.ConnectTimeout):
        return Unavailable(address, "no connection could be made in time (connect_timeout)")
    if isinstance(exc, (TimeoutError, httpx.TimeoutException)):
        return Unavailable(address, f"no answer within {answer_s:g} s")
    cause = first_cause(exc)
    if isinstance(cause, OSError) and cause.errno is not None:
        return connection_failure(address, cause)
    return Unavailable(address, line(f"the connection failed ({exc})", _MAX_REASON_CHARS))
