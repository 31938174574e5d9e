"""The exchange between gateway, engine and devices: messages, topics, and the states of a trigger."""

from __future__ import annotations
