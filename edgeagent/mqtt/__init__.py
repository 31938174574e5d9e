"""The MQTT link: one interface (`link`), engines behind it. Only this package knows a packet."""

from __future__ import annotations
