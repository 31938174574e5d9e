from __future__ import annotations

import pytest

from edgeagent.common.spans import span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-5, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h"), (3660, "1 h 1 min")),
        *((86_400, "1 d"), (90_000, "1 d 1 h"), (86_460, "1 d"), (1e9, "11574 d 1 h")),
    ],
)
def test_a_span_of_time_has_two_units_at_most(seconds: float, text: str) -> None:
    assert span(seconds) == text
