"""The way to a receiver: where requests may go, and whom TLS trusts there."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from functools import lru_cache

from edgeagent.common.foreign import line
from edgeagent.common.hosts import Address, AllowedHosts
from edgeagent.config.secretfile import FileState, state_of_file, why_unusable
from edgeagent.config.tables import WebhookTable
from edgeagent.errors import WebhookFailed
from edgeagent.links.lookup import HostLookup
from edgeagent.wire.webhook import receiver

# How many of a host's addresses are tried, such as one of each family.
_MAX_ADDRESSES = 2
_MAX_REASON_CHARS = 200


class WebhookRoute:
    """The host of one table, its addresses and its TLS context as they are now.

    Attributes:
        target: where requests go.
        shown: the same for logs and people.
    """

    def __init__(self, table: WebhookTable) -> None:
        """Nothing is read or looked up yet.

        Raises:
            ValueError: the table cannot be used; its checks tell that earlier.
        """
        self.target = receiver(table.url)
        self.shown = self.target.shown
        self._hosts = AllowedHosts(table.allow_hosts)
        self._ca_file = table.ca_file
        self._lookup = HostLookup(self.target.host, self.target.port)

    async def addresses(self) -> Sequence[Address]:
        """The addresses that requests may go to, in the order in which they are tried.

        Raises:
            WebhookFailed: there are none.
        """
        host = self.target.host
        try:
            found = await self._lookup.addresses()
        except OSError as exc:
            raise WebhookFailed(self.shown, f"its name cannot be resolved ({exc.strerror or exc})") from exc
        problems = [self._hosts.address_problem(host, address) for address in found]
        allowed = [address for address, problem in zip(found, problems, strict=True) if not problem]
        if not allowed:
            raise WebhookFailed(self.shown, next(iter(problems), "its name has no address"))
        return allowed[:_MAX_ADDRESSES]

    def context(self) -> ssl.SSLContext | None:
        """The TLS context for the authorities as they are now; None for a receiver without TLS.

        Raises:
            WebhookFailed: ca_file cannot be used.
        """
        if not self.target.is_tls:
            return None
        try:
            return _context(self._ca_file, state_of_file(self._ca_file) if self._ca_file else None)
        except (OSError, ValueError) as exc:
            raise WebhookFailed(self.shown, f"ca_file {self._ca_file}: {why_unusable(exc)}") from exc


@lru_cache(maxsize=16)  # one for each receiver; making one takes tens of milliseconds
def _context(ca_file: str, _: FileState) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def why_unreachable(exc: BaseException) -> str:
    """Why a connection failed, in words for a person."""
    while (earlier := exc.__cause__ or exc.__context__) is not None:
        exc = earlier
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({exc.verify_message}): check ca_file and the host in url"
    if isinstance(exc, ssl.SSLError):
        return f"TLS failed ({why_unusable(exc)})"
    if isinstance(exc, OSError) and exc.errno:
        return os.strerror(exc.errno)
    return line(str(exc) or "the connection broke", _MAX_REASON_CHARS)
