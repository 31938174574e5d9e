"""A database file (SQLite) that may be lost, and when it commits: for the ledger and the MQTT listener."""

from __future__ import annotations
