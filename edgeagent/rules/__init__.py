"""Rules: which events start which workflow, what limits that, and the trigger that results."""

from __future__ import annotations
