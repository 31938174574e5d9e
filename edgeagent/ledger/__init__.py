"""The index of triggers and their states (SQLite), to look up, list and relay."""

from __future__ import annotations
