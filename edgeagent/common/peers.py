"""Who is at the other end of a connection, for limits that hold for each machine. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final

# In IPv6 one machine has a whole /64 of addresses.
_IPV6_PREFIX: Final = 64


def limited_address(peername: object) -> str:
    """The address whose limit a connection counts towards: in IPv6 that of its /64 network, "" for this machine."""
    if not isinstance(peername, tuple):
        return ""
    address = ipaddress.ip_address(peername[0].partition("%")[0])
    if address.is_loopback:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)
