"""Makes the requests to one receiver, over httpx's transport.

A connection is made for each request, to an address that was looked up and checked for this request: nobody can change
where a name points between the check and the connection, and nothing of an earlier request is left on it. Redirects,
cookies and the proxies of the environment are not used. Of an answer no more than a few KiB are read.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, NamedTuple

import httpx

from edgeagent.common.foreign import line
from edgeagent.common.hosts import Address
from edgeagent.common.retry_after import retry_after_s
from edgeagent.config.secretfile import secret_in, why_unusable
from edgeagent.config.tables import WebhookTable
from edgeagent.errors import WebhookFailed
from edgeagent.ports.deliveries import WebhookDelivery
from edgeagent.webhooks.form import WebhookForm, WebhookRequest
from edgeagent.webhooks.route import WebhookRoute, why_unreachable
from edgeagent.wire.webhook import parse_secrets

MAX_ANSWER_BYTES: Final = 4096
_MAX_REASON_CHARS = 200


class PostTimes(NamedTuple):
    """In seconds. `connect_s`: for TCP, and again for TLS. `total_s`: for everything, the lookup included.

    `body_s`: for the body of an answer, which only a person reads.
    `total_s` must exceed what lookup and handshakes may take: a handshake that is cancelled leaks its connection.
    """

    connect_s: float = 5.0
    read_s: float = 10.0
    body_s: float = 2.0
    total_s: float = 30.0


class WebhookAnswer(NamedTuple):
    """A receiver's answer. `text`: the first of its body, for a person, on one line."""

    status: int
    retry_after_s: float
    text: str


class Poster:
    """Posts deliveries to the receiver of one table. It retries nothing."""

    def __init__(self, table: WebhookTable, form: WebhookForm, times: PostTimes = PostTimes()) -> None:  # noqa: B008
        """Nothing is read or connected yet.

        Raises:
            ValueError: the table cannot be used; its checks tell that earlier.
        """
        self._route = WebhookRoute(table)
        self._secret_file = table.secret_file
        self._form = form
        self._times = times
        self.shown = self._route.shown

    async def post(self, delivery: WebhookDelivery) -> WebhookAnswer:
        """Make the request.

        Raises:
            WebhookFailed: there was no answer.
        """
        try:
            secrets = parse_secrets(secret_in(self._secret_file)) if self._secret_file else []
        except (OSError, ValueError) as exc:
            raise WebhookFailed(self.shown, f"secret_file {self._secret_file}: {why_unusable(exc)}") from exc
        request = self._form.request(delivery, secrets, int(time.time()))
        try:
            async with asyncio.timeout(self._times.total_s):
                return await self._sent(request)
        except TimeoutError as exc:
            raise WebhookFailed(self.shown, f"no answer within {self._times.total_s:g} s") from exc

    async def _sent(self, request: WebhookRequest) -> WebhookAnswer:
        *others, last = await self._route.addresses()
        for address in others:
            try:
                return await self._sent_to(address, request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except (httpx.HTTPError, OSError) as exc:
                raise WebhookFailed(self.shown, _why_failed(exc)) from exc
        try:
            return await self._sent_to(last, request)
        except (httpx.HTTPError, OSError) as exc:
            raise WebhookFailed(self.shown, _why_failed(exc)) from exc

    async def _sent_to(self, address: Address, request: WebhookRequest) -> WebhookAnswer:
        target, times = self._route.target, self._times
        url = httpx.URL(
            scheme=target.scheme, host=str(address), port=target.port, raw_path=target.target.encode("ascii")
        )
        extensions = {
            "timeout": {"connect": times.connect_s, "read": times.read_s, "write": times.read_s, "pool": times.read_s},
            "sni_hostname": target.host,
        }
        headers = [("host", target.authority), *request.headers]
        context = self._route.context()
        transport = httpx.AsyncHTTPTransport(
            verify=False if context is None else context, trust_env=False, limits=httpx.Limits(max_connections=1)
        )
        try:
            outgoing = httpx.Request("POST", url, headers=headers, content=request.body, extensions=extensions)
            return await _answer(await transport.handle_async_request(outgoing), times.body_s)
        finally:
            await transport.aclose()


async def _answer(response: httpx.Response, body_s: float) -> WebhookAnswer:
    """The answer, with as much of its body as comes in time; one that breaks off changes nothing, it was answered."""
    body = b""
    try:
        async with asyncio.timeout(body_s):
            async for part in response.aiter_raw(MAX_ANSWER_BYTES):
                body += part
                if len(body) >= MAX_ANSWER_BYTES:
                    break
    except (httpx.HTTPError, OSError):  # a TimeoutError is an OSError
        pass
    wait_s = retry_after_s(response.headers.get("retry-after", ""), response.headers.get("date", ""), datetime.now(UTC))
    return WebhookAnswer(response.status_code, wait_s, line(body.decode("utf-8", "replace"), _MAX_REASON_CHARS))


def _why_failed(exc: Exception) -> str:
    if isinstance(exc, httpx.TimeoutException):
        connecting = isinstance(exc, httpx.ConnectTimeout)
        return "no connection could be made in time" if connecting else "no answer in time"
    return why_unreachable(exc)
