"""Rehearsals: what rules would do with recorded events (docs/rehearsal.md)."""

from __future__ import annotations
