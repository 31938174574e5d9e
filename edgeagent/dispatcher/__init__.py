"""The engine's side of the interface: it takes triggers, starts workflows, and publishes responses and statuses."""

from __future__ import annotations
