"""Requests that a web page in a browser on this machine may have sent, told apart by `Host` and `Origin`.

Such a page reaches loopback. Its browser says the page's origin; and after a DNS rebinding, when the browser takes this
server for the page's own, `Host` is still the page's name.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Sequence
from typing import Final

# RFC 9110 7.2: an IPv6 address in brackets, or anything else without colons; then a port.
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{0,5})?", re.ASCII)


def own_names(listen_host: str, hosts: Sequence[str]) -> frozenset[str]:
    """The names that callers may use for this machine: the one that is listened on, and those configured."""
    return frozenset(("localhost", listen_host.lower(), *(name.lower() for name in hosts)))


@functools.lru_cache(maxsize=64)  # 1 us less a request, 6 with an address (`benchmarks http`, single POSTs)
def is_known_host(host: bytes, names: frozenset[str]) -> bool:
    """Whether `Host` is an address, or one of these names: what no page elsewhere can have its own server called."""
    match = _HOST.fullmatch(host.decode("latin-1").lower())
    if match is None:
        return False
    name = match[1] or match[2]
    if match[2] and (name in names or name.endswith(".localhost")):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_own_origin(origin: bytes, host: bytes | None) -> bool:
    """Whether a page of the server that `Host` names has sent this."""
    if host is None:
        return False
    return origin.lower() in {b"http://" + host.lower(), b"https://" + host.lower()}
