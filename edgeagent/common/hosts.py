"""Which hosts and addresses a request may go to (a guard against server-side request forgery).

A name in a configuration is resolved when a request is made, and who answers for that name could point it at this
machine, at its neighbours on the link, or at the address where a cloud hands out credentials. Such addresses are used
only if the configuration names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from edgeagent.common.foreign import shown
from edgeagent.common.names import Glob

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64: Final = IPv6Network("64:ff9b::/96")
# Where clouds serve the credentials of a machine, beside the link-local 169.254.169.254.
_METADATA: Final = frozenset(
    ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
_NEVER_A_HOST: Final = frozenset("/@?#:[] ")


class AllowedHosts:
    """The hosts and addresses that a configuration names: globs of names, addresses, and networks (`10.0.0.0/8`)."""

    def __init__(self, entries: Sequence[str]) -> None:
        """`entries`: empty allows every host, at ordinary addresses.

        Raises:
            ValueError: an entry is neither a name, an address nor a network.
        """
        self._networks: list[Network] = []
        self._globs: list[Glob] = []
        for entry in entries:
            network = _network(entry)
            if network is not None:
                self._networks.append(network)
            elif not entry or not _NEVER_A_HOST.isdisjoint(entry):
                raise ValueError(f"{shown(entry)!r} is neither a host's name, an address nor a network")
            else:
                self._globs.append(Glob(entry.lower()))
        self._all = not entries

    def host_problem(self, host: str) -> str:
        """Why a request may not go to a host, judged by its name or address alone; "" if it may."""
        if self._all or any(glob.matches(host.lower()) for glob in self._globs):
            return ""
        literal = address_of(host)
        if literal is None:  # its addresses decide, if networks are allowed
            return "" if self._networks else f"the host {shown(host)} is not in allow_hosts"
        return "" if self._has(literal) else f"the address {literal} is not in allow_hosts"

    def address_problem(self, host: str, address: Address) -> str:
        """Why a request for a host may not go to this address, which the host's name stands for; "" if it may."""
        address = plain(address)
        if self._has(address) or address_of(host) == address or (host.lower() == "localhost" and address.is_loopback):
            return self.host_problem(host)
        if what := special(address):
            return f"{shown(host)} is at {address}, {what}: name that address in allow_hosts if it is meant"
        if self._all or any(glob.matches(host.lower()) for glob in self._globs):
            return ""
        return f"{shown(host)} is at {address}, which is not in allow_hosts"

    def _has(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)


def address_of(host: str) -> Address | None:
    """The address that a host is written as; None if it is a name."""
    try:
        return plain(ip_address(host))
    except ValueError:
        return None


def plain(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that only carries it (mapped, NAT64, 6to4); any other one as it is."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return inner
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def special(address: Address) -> str:
    """What is special about an address that no public or private host has; "" for an ordinary one."""
    if address.is_loopback:
        return "this machine itself"
    if address in _METADATA:
        return "a cloud's metadata service"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast or address.is_unspecified or address.is_reserved:
        return "the address of no host"
    return ""


def _network(entry: str) -> Network | None:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        return None
