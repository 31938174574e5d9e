"""What passes between gateway, engine and devices: messages, topics, and the life of a trigger that they tell."""

from __future__ import annotations
