"""The wait before another try: exponential backoff with full jitter.

Full jitter (any wait from 0 to the ceiling, all equally likely) spreads a thousand gateways that lost the same broker
in the same second evenly over time; with a fixed or half-random wait they would come back in waves. The triggers of one
agent, which all use one connection, draw from the upper half instead (`agent/inflight.py`), so that none of them is
tried again at once.
"""

from __future__ import annotations

from edgeagent.common.digests import blake2b

# After a power cut the machines of a site start together, and each program on them within the first minutes.
_JUST_BOOTED_S = 300.0
_BOOT_SPREAD_S = 10.0
_HASH_BYTES = 8
# A gateway that is offline for weeks reaches attempt 1e6. 2**64 times any base in use exceeds every cap without
# overflow.
_MAX_EXPONENT = 64


def full_jitter(attempt: int, fraction: float, *, base_s: float, cap_s: float) -> float:
    """The seconds to wait before the next attempt.

    Args:
        attempt: how many attempts have failed; with 0 the ceiling is `base_s`.
        fraction: the position in the range from 0 to the ceiling, 0 <= fraction <= 1; a random number.
        base_s: the ceiling of the first wait; it doubles with each attempt.
        cap_s: the ceiling never exceeds this.
    """
    return fraction * min(cap_s, base_s * 2.0 ** min(attempt, _MAX_EXPONENT))


def boot_spread(name: str, uptime_s: float) -> float:
    """The seconds to wait before the very first attempt, 0 to 10, so that gateways do not all come after a power cut.

    The same name gives the same wait at each boot, and names are spread evenly. It is 0 if the machine has been up for
    minutes, so that a program started by hand does not wait.

    Args:
        name: identifies the program that connects, such as an agent id.
        uptime_s: how long the machine has been up.
    """
    if uptime_s >= _JUST_BOOTED_S:
        return 0.0
    number = int.from_bytes(blake2b(name.encode(), digest_size=_HASH_BYTES).digest(), "big")
    return _BOOT_SPREAD_S * number / (1 << 8 * _HASH_BYTES)
