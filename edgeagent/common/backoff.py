"""How long to wait before trying again: exponential backoff with full jitter.

Full jitter (any wait from 0 to the ceiling, all equally likely) spreads a thousand gateways that lost the same broker
in the same second evenly over time; a fixed or half-random wait lets them come back in waves.
"""

from __future__ import annotations

from hashlib import blake2b

# After a power cut the machines of a site come up together, and each program on them within the first minutes.
_JUST_BOOTED_S = 300.0
_BOOT_SPREAD_S = 10.0
_HASH_BYTES = 8
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


def boot_spread(name: str, uptime_s: float) -> float:
    """Seconds to wait before the very first attempt, 0 to 10: after a power cut gateways must not come all at once.

    The same name gives the same wait at each boot, and names are spread evenly. 0 when the machine has been up for
    minutes, so that a program started by hand does not wait.

    Args:
        name: whose attempt it is, such as an agent id.
        uptime_s: how long the machine has been up.
    """
    if uptime_s >= _JUST_BOOTED_S:
        return 0.0
    number = int.from_bytes(blake2b(name.encode(), digest_size=_HASH_BYTES).digest(), "big")
    return _BOOT_SPREAD_S * number / (1 << 8 * _HASH_BYTES)
