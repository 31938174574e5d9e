"""Makes the requests to one receiver, over httpx's transport.

A connection is made for each request, to an address that was looked up and checked for this request: nobody can change
where a name points between the check and the connection, and nothing of an earlier request is left on it. Redirects,
cookies and the proxies of the environment are not used. Of an answer no more than a few KiB are read.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

import httpx

from edgeagent.common.foreign import line
from edgeagent.common.hosts import Address, AllowedHosts
from edgeagent.config.secretfile import FileState, secret_in, state_of_file, why_unusable
from edgeagent.config.tables import WebhookTable
from edgeagent.errors import WebhookFailed
from edgeagent.ports.deliveries import WebhookDelivery
from edgeagent.webhooks.answer import retry_after_s
from edgeagent.webhooks.form import WebhookForm, WebhookRequest
from edgeagent.webhooks.lookup import HostLookup
from edgeagent.wire.webhook import parse_secrets, receiver

MAX_ANSWER_BYTES: Final = 4096
# How many of a host's addresses are tried, such as one of each family.
_MAX_ADDRESSES = 2
_MAX_REASON_CHARS = 200


class PostTimes(NamedTuple):
    """In seconds. `connect_s`: for TCP, and again for TLS. `total_s`: for everything, the lookup included.

    `total_s` must exceed what lookup and handshakes may take: a handshake that is cancelled leaks its connection.
    """

    connect_s: float = 5.0
    read_s: float = 10.0
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
        self._receiver = receiver(table.url)
        self._hosts = AllowedHosts(table.allow_hosts)
        self._secret_file = table.secret_file
        self._ca_file = table.ca_file
        self._form = form
        self._times = times
        self._lookup = HostLookup(self._receiver.host, self._receiver.port)
        self.shown = self._receiver.shown

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

    async def addresses(self) -> Sequence[Address]:
        """The addresses that requests may go to, in the order in which they are tried.

        Raises:
            WebhookFailed: there are none.
        """
        host = self._receiver.host
        try:
            found = await self._lookup.addresses()
        except OSError as exc:
            raise WebhookFailed(self.shown, f"its name cannot be resolved ({exc.strerror or exc})") from exc
        problems = [self._hosts.address_problem(host, address) for address in found]
        allowed = [address for address, problem in zip(found, problems, strict=True) if not problem]
        if not allowed:
            raise WebhookFailed(self.shown, next(iter(problems), "its name has no address"))
        return allowed[:_MAX_ADDRESSES]

    def context(self) -> ssl.SSLContext:
        """The TLS context for the authorities as they are now.

        Raises:
            WebhookFailed: ca_file cannot be used.
        """
        try:
            return _context(self._ca_file, state_of_file(self._ca_file) if self._ca_file else None)
        except (OSError, ValueError) as exc:
            raise WebhookFailed(self.shown, f"ca_file {self._ca_file}: {why_unusable(exc)}") from exc

    async def _sent(self, request: WebhookRequest) -> WebhookAnswer:
        *others, last = await self.addresses()
        for address in others:
            try:
                return await self._sent_to(address, request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except (httpx.HTTPError, OSError) as exc:
                raise WebhookFailed(self.shown, why_failed(exc)) from exc
        try:
            return await self._sent_to(last, request)
        except (httpx.HTTPError, OSError) as exc:
            raise WebhookFailed(self.shown, why_failed(exc)) from exc

    async def _sent_to(self, address: Address, request: WebhookRequest) -> WebhookAnswer:
        target, times = self._receiver, self._times
        url = httpx.URL(
            scheme=target.scheme, host=str(address), port=target.port, raw_path=target.target.encode("ascii")
        )
        extensions = {
            "timeout": {"connect": times.connect_s, "read": times.read_s, "write": times.read_s, "pool": times.read_s},
            "sni_hostname": target.host,
        }
        headers = [("host", target.authority), *request.headers]
        verify = self.context() if target.is_tls else False
        transport = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=httpx.Limits(max_connections=1))
        try:
            outgoing = httpx.Request("POST", url, headers=headers, content=request.body, extensions=extensions)
            return await _answer(await transport.handle_async_request(outgoing))
        finally:
            await transport.aclose()


async def _answer(response: httpx.Response) -> WebhookAnswer:
    """The answer, with as much of its body as comes in time; one that breaks off changes nothing, it was answered."""
    body = b""
    try:
        async for part in response.aiter_raw(MAX_ANSWER_BYTES):
            body += part
            if len(body) >= MAX_ANSWER_BYTES:
                break
    except (httpx.HTTPError, OSError):
        pass
    wait_s = retry_after_s(response.headers.get("retry-after", ""), response.headers.get("date", ""), datetime.now(UTC))
    return WebhookAnswer(response.status_code, wait_s, line(body.decode("utf-8", "replace"), _MAX_REASON_CHARS))


@lru_cache(maxsize=16)  # one for each receiver; making one takes tens of milliseconds
def _context(ca_file: str, _: FileState) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def why_failed(exc: Exception) -> str:
    """Why there was no answer, in words for a person."""
    if isinstance(exc, httpx.TimeoutException):
        connecting = isinstance(exc, httpx.ConnectTimeout)
        return "no connection could be made in time" if connecting else "no answer in time"
    cause: BaseException = exc
    while (earlier := cause.__cause__ or cause.__context__) is not None:
        cause = earlier
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message}): check ca_file and the host in url"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({why_unusable(cause)})"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return line(str(exc) or "the connection broke", _MAX_REASON_CHARS)
