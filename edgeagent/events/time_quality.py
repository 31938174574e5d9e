"""How far an event's `time` can be trusted (contract section 2, `time_quality`).

An event's time comes from its device, or else from the agent's clock, which many gateways start in a wrong year.
"""

from __future__ import annotations

# As a record on the disk has it. Only what is below `DEVICE` can turn out to be wrong, and be corrected.
NOT_NOTED, UNSYNCHRONIZED, DEVICE, SYNCHRONIZED, CORRECTED = range(1, 6)

# As filters and parameters see it. Where an earlier version noted nothing, nobody vouches for the time.
QUALITY_NAMES = {
    NOT_NOTED: "unsynchronized",
    UNSYNCHRONIZED: "unsynchronized",
    DEVICE: "device",
    SYNCHRONIZED: "synchronized",
    CORRECTED: "corrected",
}
# Those that an event can have when it is accepted.
_ACCEPTED = {QUALITY_NAMES[quality]: quality for quality in (UNSYNCHRONIZED, DEVICE, SYNCHRONIZED)}


def accepted_quality(name: str) -> int:
    """The quality that an accepted event has by this name; `NOT_NOTED` if it can have none of this name."""
    return _ACCEPTED.get(name, NOT_NOTED)
