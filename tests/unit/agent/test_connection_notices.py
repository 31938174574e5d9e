"""What is logged of a connection that is up or down."""

from __future__ import annotations

import pytest

from edgeagent.agent.notices import ConnectionNotices
from edgeagent.common.elapsed import Instant
from edgeagent.errors import Unavailable

ADDRESSES = ["mqtt://a.example", "mqtt://b.example"]


def test_each_address_is_logged_once_for_a_reason_though_they_take_turns_and_again_after_a_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []
    link = ConnectionNotices("uplink", ADDRESSES, "retrying", lambda: Instant(0, 0, b""))
    link.listen(lambda: told.append(link.error))
    for _ in range(3):
        for address in ADDRESSES:
            link.down(Unavailable(address, "refused"))
    assert len(caplog.messages) == 2
    assert told == [f"{address}: refused" for _ in range(3) for address in ADDRESSES], "what is shown is the newest"
    link.down(Unavailable(ADDRESSES[0], "no answer"))
    assert len(caplog.messages) == 3
    link.up()
    link.down(Unavailable(ADDRESSES[0], "no answer"))
    assert len(caplog.messages) == 4
