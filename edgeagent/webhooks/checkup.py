"""The checks of `edgeagent doctor` on receivers of webhooks: name, addresses, certificate. Nothing is posted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from edgeagent.common.finding import Finding, fail, ok, warn
from edgeagent.config.addresses import is_loopback
from edgeagent.config.tables import WebhookTable
from edgeagent.errors import WebhookFailed
from edgeagent.webhooks.route import WebhookRoute, why_unreachable

_TIMEOUT_S = 5.0


async def webhook_findings(
    path: str, tables: Sequence[WebhookTable], timeout_s: float = _TIMEOUT_S
) -> AsyncIterator[Finding]:
    """A finding for each receiver. `path`: of the tables in the configuration."""
    for index, table in enumerate(tables):
        route = WebhookRoute(table)
        subject = f"{path}[{index}] {route.shown}"
        try:
            async with asyncio.timeout(timeout_s):
                found = await _connected(route)
        except TimeoutError:
            remedy = "start the receiver, or correct url; what is to be posted waits meanwhile"
            yield fail(subject, f"does not answer within {timeout_s:g} s", remedy)
        except WebhookFailed as exc:
            remedy = "start the receiver, or correct url, ca_file or allow_hosts; what is to be posted waits meanwhile"
            yield fail(subject, exc.reason, remedy)
        else:
            yield (
                ok(subject, found)
                if route.target.is_tls or not table.secret_file or is_loopback(route.target.host)
                else warn(subject, f"{found}; signed, and readable by everybody on the way", "use https://")
            )


async def _connected(route: WebhookRoute) -> str:
    first, *_ = await route.addresses()
    context = route.context()
    host = route.target.host if context is not None else None
    try:
        _, writer = await asyncio.open_connection(str(first), route.target.port, ssl=context, server_hostname=host)
    except OSError as exc:
        raise WebhookFailed(route.shown, why_unreachable(exc)) from exc
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return f"{first} takes connections" + (", and its certificate is trusted" if context is not None else "")
