from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.agent.announcement import Announced, is_news

INTERVAL_S = 300.0
BEFORE = Announced(pending=100, oldest_ms=1_000_000, headroom_s=86_400, reason="")


@pytest.mark.parametrize(
    ("changes", "news"),
    [
        ({}, False),
        ({"pending": 101}, False),
        ({"pending": 200}, False),
        ({"pending": 201}, True),
        ({"pending": 49}, True),
        ({"pending": 0, "oldest_ms": None}, True),
        ({"headroom_s": 80_000}, False),
        ({"headroom_s": 40_000}, True),
        ({"headroom_s": None}, True),
        ({"reason": "the outbox is full"}, True),
        ({"oldest_ms": 1_299_999}, False),
        ({"oldest_ms": 1_300_000}, True),
        ({"oldest_ms": 0}, True),  # the wall clock was set back
        ({"oldest_ms": None}, True),
        ({"since_ms": 1_800_000_000_000}, True),
    ],
)
def test_what_would_change_a_readers_mind_is_news(changes: dict[str, Any], *, news: bool) -> None:
    assert is_news(BEFORE, msgspec.structs.replace(BEFORE, **changes), INTERVAL_S) is news


def test_nothing_is_news_while_nothing_waits_and_nothing_is_wrong() -> None:
    idle = Announced(0, None, None, "")
    assert not is_news(idle, idle, INTERVAL_S)
    assert is_news(idle, msgspec.structs.replace(idle, pending=1, oldest_ms=5), INTERVAL_S)
