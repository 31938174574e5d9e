"""Rules: which events start which workflow, what limits that, and the trigger that comes of it."""

from __future__ import annotations
