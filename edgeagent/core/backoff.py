"""How long to wait before trying again: exponential backoff with full jitter.

Full jitter (any wait from 0 to the ceiling, all equally likely) spreads a thousand gateways that lost the same broker
in the same second evenly over time; a fixed or half-random wait lets them come back in waves.
"""

from __future__ import annotations

# A gateway that is offline for weeks reaches attempt 1e6. 2**64 of any base in use is past every cap, and no overflow.
_MAX_EXPONENT = 64


def full_jitter(attempt: int, fraction: float, *, base_s: float, cap_s: float) -> float:
    """Seconds to wait before the next attempt.

    Args:
        attempt: how many attempts failed before, 0 the first time.
        fraction: where in the range from 0 to the ceiling, 0 <= fraction <= 1; callers pass `random.random()`.
        base_s: the ceiling of the first wait; it doubles with each attempt.
        cap_s: the ceiling never rises above this.
    """
    return fraction * min(cap_s, base_s * 2.0 ** min(attempt, _MAX_EXPONENT))
