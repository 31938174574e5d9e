from __future__ import annotations

from ipaddress import ip_address

import pytest

from edgeagent.common.hosts import AllowedHosts

SPECIAL = (
    *("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254", "fe80::1"),  # noqa: S104
    *(
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "240.0.0.1",
    ),
    "255.255.255.255",
)
ORDINARY = ("93.184.216.34", "10.0.0.7", "192.168.1.9", "fd12::1", "2001:db9::1", "100.64.0.1")


@pytest.mark.parametrize("text", SPECIAL)
def test_a_name_that_points_at_a_special_address_is_refused_unless_that_is_named(text: str) -> None:
    address = ip_address(text)
    assert "allow_hosts" in AllowedHosts([]).address_problem("hooks.example", address)
    assert "allow_hosts" in AllowedHosts(["hooks.example"]).address_problem("hooks.example", address)
    assert "allow_hosts" in AllowedHosts(["*"]).address_problem("hooks.example", address)


def test_a_special_address_that_is_named_is_used() -> None:
    loopback = ip_address("127.0.0.1")
    assert not AllowedHosts([]).address_problem("127.0.0.1", loopback)
    assert not AllowedHosts([]).address_problem("localhost", loopback)
    assert not AllowedHosts(["hooks.example", "127.0.0.0/8"]).address_problem("hooks.example", loopback)
    assert not AllowedHosts(["127.0.0.1"]).address_problem("127.0.0.1", loopback)
    assert AllowedHosts([]).address_problem("localhost", ip_address("169.254.1.1"))


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_addresses_are_used_for_hosts_that_are_allowed(text: str) -> None:
    address = ip_address(text)
    assert not AllowedHosts([]).address_problem("hooks.example", address)
    assert not AllowedHosts(["*.example"]).address_problem("Hooks.Example", address)
    assert not AllowedHosts([text]).address_problem("hooks.example", address)
    assert AllowedHosts(["other.example"]).address_problem("hooks.example", address)
    assert AllowedHosts(["172.16.0.0/12"]).address_problem("hooks.example", address)


def test_a_host_in_a_url_must_be_allowed() -> None:
    assert not AllowedHosts([]).host_problem("any.example")
    assert not AllowedHosts(["10.0.0.0/8"]).host_problem("by-name.example")  # its addresses decide
    assert AllowedHosts(["10.0.0.0/8"]).host_problem("11.0.0.1")
    assert AllowedHosts(["a.example"]).host_problem("b.example")


@pytest.mark.parametrize("entry", ["", "http://a.example", "a.example:80", "a b", "10.0.0.0/99", "[::1]"])
def test_what_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        AllowedHosts([entry])
