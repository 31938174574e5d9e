"""The index of triggers and their states (SQLite), for look-ups, lists and relaying."""

from __future__ import annotations
