"""Artifacts at an HTTP server: WebDAV, a presigned url, any other.

Each request makes a connection of its own, to an address that was looked up and checked for it. Redirects are followed
only to where a claim could have led, never from TLS to none, and credentials go to no other server than the claim's.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple
from urllib.parse import urljoin

import httpx

from edgeagent import __version__
from edgeagent.common.causes import first_cause
from edgeagent.common.foreign import line
from edgeagent.common.hosts import Address, address_of
from edgeagent.errors import Denied, FetchRefused, SourceUnavailable, StoreError, WrongContent
from edgeagent.fetch.allowed import WEB, AllowedUrls, SourceUrl, source_url
from edgeagent.fetch.answer import FetchAnswer, Meaning, meaning_of
from edgeagent.fetch.source import OpenedSource
from edgeagent.links.failures import connection_failure

_MAX_REDIRECTS = 5
_MAX_ADDRESSES = 2  # of a host, such as one of each family
_MAX_REASON_CHARS = 300


class FetchTimes(NamedTuple):
    """In seconds. `connect_s`: for TCP, and again for TLS. `read_s`: for the answer, and for each part of its body."""

    connect_s: float = 10.0
    read_s: float = 30.0


class WebSource:
    """A url of HTTP, and where it redirects to."""

    def __init__(
        self,
        url: SourceUrl,
        allowed: AllowedUrls,
        size: int,
        *,
        context: ssl.SSLContext,
        authorization: str = "",
        times: FetchTimes = FetchTimes(),  # noqa: B008
    ) -> None:
        """Nothing is looked up or connected yet.

        Args:
            url: the claim's.
            allowed: where requests may go.
            size: what the claim says, in bytes.
            context: for `https`.
            authorization: the header, for the claim's own server alone; "" for none.
            times: how long to wait.
        """
        self._url = url
        self._allowed = allowed
        self._size = size
        self._context = context
        self._authorization = authorization
        self._times = times
        self.shown = url.shown

    @contextmanager
    def open(self, offset: int) -> Iterator[OpenedSource]:
        """Ask for it; see `Source`."""
        url = self._url
        for _ in range(_MAX_REDIRECTS + 1):
            with ExitStack() as stack:
                try:
                    response = self._asked(stack, url, offset)
                except (httpx.HTTPError, OSError) as exc:
                    raise self._failure(url, exc) from exc
                answer = meaning_of(response.status_code, response.headers, offset, self._size)
                if answer.meaning is Meaning.BODY:
                    yield OpenedSource(answer.offset, self._parts(url, response))
                    return
            url = self._next(url, answer)
        raise FetchRefused(self.shown, f"it redirects more than {_MAX_REDIRECTS} times")

    def _next(self, url: SourceUrl, answer: FetchAnswer) -> SourceUrl:
        """Where a redirect leads, if it may be followed."""
        if answer.meaning is Meaning.LATER:
            raise SourceUnavailable(url.shown, answer.text)
        if answer.meaning is Meaning.WRONG:
            raise WrongContent(url.shown, answer.text)
        if answer.meaning is not Meaning.REDIRECT:
            raise FetchRefused(url.shown, answer.text)
        try:
            following = source_url(urljoin(f"{url.scheme}://{url.authority}{url.target}", answer.text))
        except ValueError as exc:
            raise FetchRefused(url.shown, f"it redirects to what {exc}") from exc
        problem = self._allowed.problem(following)
        if not problem and (following.scheme not in WEB or (url.scheme == "https" and following.scheme == "http")):
            problem = f"{following.shown} is not as safe"
        if problem:
            raise FetchRefused(url.shown, f"it redirects to where no request may go: {problem}")
        return following

    def _asked(self, stack: ExitStack, url: SourceUrl, offset: int) -> httpx.Response:
        *others, last = self._addresses(url)
        for address in others:
            try:
                return self._asked_at(stack, url, address, offset)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return self._asked_at(stack, url, last, offset)

    def _asked_at(self, stack: ExitStack, url: SourceUrl, address: Address, offset: int) -> httpx.Response:
        headers = {"Host": url.authority, "User-Agent": f"edgeagent/{__version__}", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        if self._authorization and url.origin == self._url.origin:
            headers["Authorization"] = self._authorization
        times = self._times
        timeout = {"connect": times.connect_s, "read": times.read_s, "write": times.read_s, "pool": times.read_s}
        at = httpx.URL(scheme=url.scheme, host=str(address), port=url.port, raw_path=url.target.encode("ascii"))
        request = httpx.Request("GET", at, headers=headers, extensions={"timeout": timeout, "sni_hostname": url.host})
        transport = httpx.HTTPTransport(verify=self._context, trust_env=False)
        stack.callback(transport.close)
        response = transport.handle_request(request)
        stack.callback(response.close)
        return response

    def _addresses(self, url: SourceUrl) -> list[Address]:
        """The addresses that requests may go to, in the order in which they are tried; raises `OSError`."""
        literal = address_of(url.host)
        if literal is not None:
            found = [literal]
        else:
            try:
                infos = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
            except UnicodeError as exc:  # such as a part of more than 63 characters
                raise FetchRefused(url.shown, "no host can have this name") from exc
            texts = dict.fromkeys(str(info[4][0]).partition("%")[0] for info in infos)
            found = [address for text in texts if (address := address_of(text)) is not None]
        problems = [self._allowed.address_problem(url, address) for address in found]
        allowed = [address for address, problem in zip(found, problems, strict=True) if not problem]
        if not allowed:
            raise FetchRefused(url.shown, next(iter(problems), "its name has no address"))
        return allowed[:_MAX_ADDRESSES]

    def _parts(self, url: SourceUrl, response: httpx.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_raw()  # as they come: what is collected for a larger part is lost when it breaks
        except (httpx.HTTPError, OSError) as exc:
            raise self._failure(url, exc) from exc

    def _failure(self, url: SourceUrl, exc: Exception) -> StoreError:
        if isinstance(exc, httpx.ConnectTimeout):
            return SourceUnavailable(url.shown, f"no connection within {self._times.connect_s:g} s")
        if isinstance(exc, (TimeoutError, httpx.TimeoutException)):
            return SourceUnavailable(url.shown, f"nothing came for {self._times.read_s:g} s")
        cause = first_cause(exc)
        if not isinstance(cause, OSError):
            return SourceUnavailable(url.shown, line(str(exc) or "the connection broke", _MAX_REASON_CHARS))
        failure = connection_failure(url.shown, cause)
        kind = FetchRefused if isinstance(failure, Denied) else SourceUnavailable
        return kind(url.shown, line(failure.reason, _MAX_REASON_CHARS))
