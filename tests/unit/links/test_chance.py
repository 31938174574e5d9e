"""`links.chance`: random numbers for waits."""

from __future__ import annotations

import os

import pytest

from edgeagent.links.chance import fraction


def test_fractions_are_spread_over_the_whole_range() -> None:
    found = [fraction() for _ in range(1000)]
    assert all(0 <= one < 1 for one in found)
    assert len(set(found)) > 990
    assert {int(one * 4) for one in found} == {0, 1, 2, 3}


@pytest.mark.parametrize(("byte", "expected"), [(b"\x00", 0.0), (b"\xff", 1 - 2**-48)])
def test_the_ends_of_the_range(byte: bytes, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: byte * count)
    assert fraction() == expected
    assert fraction() < 1
