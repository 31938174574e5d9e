"""The agent's own MQTT listener: devices connect straight to the agent, over MQTT 5, 3.1.1 and 3.1."""

from __future__ import annotations
