"""The server's time: its `Date` header, for `edgeagent doctor`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from edgeagent.argo.access import ArgoAccess
from edgeagent.argo.client import ArgoSettings
from edgeagent.argo.connections import new_connection, unavailable

_CONNECT_SHARE = 0.4


async def server_time(settings: ArgoSettings) -> datetime | None:
    """The server's time to the second, whatever its answer; None if it sends no time.

    Raises:
        EngineUnavailable: the server cannot be reached.
    """
    url = settings.url.rstrip("/") + "/api/v1/version"
    access = ArgoAccess(
        url,
        ca_file=settings.ca_file,
        cert_file=settings.cert_file,
        key_file=settings.key_file,
        insecure=settings.insecure,
    )
    # The time for connecting is limited separately: see `client`.
    timeout = {"connect": _CONNECT_SHARE * settings.timeout_s}
    connection = new_connection(access.context())
    try:
        async with asyncio.timeout(settings.timeout_s):
            request = httpx.Request("GET", url, extensions={"timeout": timeout})
            response = await connection.handle_async_request(request)
            await response.aclose()
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
        raise unavailable(url, exc, settings.timeout_s) from exc
    finally:
        await connection.aclose()
    return _time(response.headers.get("date", ""))


def _time(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError: a year of many digits
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
