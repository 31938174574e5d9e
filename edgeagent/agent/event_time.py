"""An event's time when its trigger is sent: the agent's own is corrected if the clock was set after the event came."""

from __future__ import annotations

import msgspec

from edgeagent.agent.clock import Moment
from edgeagent.common.elapsed import SET_MS
from edgeagent.common.times import rfc3339
from edgeagent.events.event import Record
from edgeagent.events.time_quality import CORRECTED, DEVICE, NOT_NOTED, SYNCHRONIZED, UNSYNCHRONIZED
from edgeagent.outbox.records import Leased


def with_right_time(leased: Leased, boot: bytes, moment: Moment) -> Leased:
    """The trigger with the best time that is known for its event; the same one if that is the one it has.

    Within a boot the uptime tells when the event came, as soon as the clock is right. Nothing else of the event
    changes, so its trigger keeps its identity. `boot`: the present one.
    """
    if leased.record.time_quality >= DEVICE:
        return leased
    record = _timed(leased.record, moment if leased.boot == boot and moment.time_quality == SYNCHRONIZED else None)
    return msgspec.structs.replace(leased, record=record)


def _timed(record: Record, moment: Moment | None) -> Record:
    """The record with its time corrected. `moment`: in the same boot, with a right clock; None if there is none."""
    if record.time_quality == NOT_NOTED and record.time != rfc3339(record.accepted_ms):
        return msgspec.structs.replace(record, time_quality=DEVICE)  # the agent writes its own as that
    if moment is None:
        return msgspec.structs.replace(record, time_quality=UNSYNCHRONIZED)
    off_ms = (moment.now_ms - moment.uptime_ms) - (record.accepted_ms - record.uptime_ms)
    if -SET_MS < off_ms < SET_MS:
        return msgspec.structs.replace(record, time_quality=SYNCHRONIZED)
    return msgspec.structs.replace(record, time=rfc3339(record.accepted_ms + off_ms), time_quality=CORRECTED)
