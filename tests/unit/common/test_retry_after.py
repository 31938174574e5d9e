from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edgeagent.common.retry_after import MAX_RETRY_AFTER_S, retry_after_s

NOON = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "date", "expected_s"),
    [
        ("", "", 0.0),
        ("120", "", 120.0),
        (" 7 ", "", 7.0),
        ("99999999999999999999", "", MAX_RETRY_AFTER_S),
        ("-5", "", 0.0),
        ("soon", "", 0.0),
        ("1e9", "", 0.0),
        ("²", "", 0.0),
        ("Fri, 20 Mar 2026 12:01:00 GMT", "", 60.0),
        ("Fri, 20 Mar 2026 11:00:00 GMT", "", 0.0),
        ("Fri, 20 Mar 2099 11:00:00 GMT", "", MAX_RETRY_AFTER_S),
        ("Fri, 20 Mar 1999 12:00:30 GMT", "Fri, 20 Mar 1999 12:00:00 GMT", 30.0),  # their clock, or ours, is wrong
        ("Fri, 99 Mar 2026 12:01:00 GMT", "", 0.0),
    ],
)
def test_both_forms_of_retry_after_are_honoured_within_a_bound(text: str, date: str, expected_s: float) -> None:
    assert retry_after_s(text, date, NOON) == expected_s
