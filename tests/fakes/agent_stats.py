"""The figures of an agent, as `GET /v1/stats` has them."""

from __future__ import annotations

from typing import Any

EVENTS = ("received", "stored", "duplicate", "filtered", "throttled", "refused", "conflict")
TRIGGERS = (
    *("accepted", "imported", "settled", "pending", "dead", "discarded", "expired", "dropped", "merged", "exported"),
    "damaged",
)


def agent_stats(**members: Any) -> dict[str, Any]:
    """A healthy agent's, one hour after its start at 11:00; members of tables are given as `uplink={"error": ""}`."""
    stats: dict[str, Any] = {
        "agent": "gw-042",
        "version": "1.2.3",
        "started": "2026-03-20T11:00:00.000Z",
        "rescue": False,
        "account": {
            "events": dict.fromkeys(EVENTS, 0) | {"received": 1200, "stored": 1200},
            "triggers": dict.fromkeys(TRIGGERS, 0) | {"accepted": 1200, "settled": 1180, "pending": 20},
            "balanced": True,
        },
        "outbox": {
            "used_bytes": 8 << 20,
            "max_bytes": 256 << 20,
            "accepting": True,
            "failure": "",
            "parked": 0,
            "dead": {"count": 0, "max_count": 10_000, "full": ""},
            "hours_left": None,
            "lost": [],
        },
        "uplink": {
            "address": "mqtts://cloud.example:8883",
            "connected": True,
            "since": "2026-03-20T11:30:00.000Z",
            "error": "",
            "trouble": "",
            "remedy": "",
            "published": 1210,
            "republished": 10,
            "in_flight": 20,
        },
        "rules": {"overheat": {"matched": 1200, "published": 1200, "settled": 1180}},
        "http": {"addresses": ["127.0.0.1:8080", "/run/edgeagent/agent.sock"], "connections": 3},
        "log": {"warnings": 0, "errors": 0, "last": []},
    }
    for name, value in members.items():
        stats[name] = {**stats[name], **value} if isinstance(value, dict) and name in stats else value
    return stats
