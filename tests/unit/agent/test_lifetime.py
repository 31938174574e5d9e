"""`age_s`: how old an event is when its trigger is sent, which is what `ttl` and `outbox.max_age` go by."""

from __future__ import annotations

import pytest

from edgeagent.agent.clock import Moment
from edgeagent.agent.lifetime import age_s
from edgeagent.common.times import rfc3339
from edgeagent.events.event import Draft, record
from edgeagent.outbox.records import NORMAL, Leased

RIGHT_MS = 1_800_000_000_000
DAY_MS = 86_400_000
BOOT, OLD_BOOT = b"boot-2", b"boot-1"


@pytest.mark.parametrize(
    ("accepted_ms", "uptime_ms", "boot", "now_ms", "now_uptime_ms", "age"),
    [
        # The same boot: the wall clock was in 1970 and is put right, or goes back by a year.
        (20_000, 20_000, BOOT, RIGHT_MS, 80_000, 60),
        (RIGHT_MS, 20_000, BOOT, RIGHT_MS - 365 * DAY_MS, 80_000, 60),
        # Switched off: the time counts where the clock was right before and after.
        (RIGHT_MS, 20_000, OLD_BOOT, RIGHT_MS + 8 * DAY_MS, 10_000, 8 * 86_400),
        # Accepted in 1970, the time is put right, the machine boots again: fifty years have not passed.
        (20_000, 20_000, OLD_BOOT, RIGHT_MS, 10_000, 10),
        (20_000, 20_000, OLD_BOOT, RIGHT_MS, 8 * DAY_MS, 8 * 86_400),
        # The clock is wrong after the boot: at least the time since then counts.
        (RIGHT_MS, 20_000, OLD_BOOT, 10_000, 10_000, 10),
        # It came from another gateway, a minute ago; this machine has been up for a month.
        (RIGHT_MS, 0, b"", RIGHT_MS + 60_000, 30 * DAY_MS, 60),
        (RIGHT_MS + 5_000, 0, b"", RIGHT_MS, 30 * DAY_MS, 0),
    ],
)
def test_the_age_of_an_event(
    accepted_ms: int, uptime_ms: int, boot: bytes, now_ms: int, now_uptime_ms: int, age: float
) -> None:
    draft = Draft(source="boiler-1", data=b"1", is_json=True, id="1", time=rfc3339(accepted_ms))
    leased = Leased(NORMAL, 1, "hot", record(draft, "gw-1", ("hot",), accepted_ms, uptime_ms), boot)
    assert age_s(leased, BOOT, Moment(now_ms, now_uptime_ms, rfc3339(now_ms))) == age
