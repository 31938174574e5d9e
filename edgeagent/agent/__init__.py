"""The agent: intake, sender, answers and relay, built around one outbox. `agent` is the composition root."""

from __future__ import annotations
