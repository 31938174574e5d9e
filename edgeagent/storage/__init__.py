"""A database file (SQLite) that may be lost, and when it commits: for the ledger, the MQTT listener and uploads."""

from __future__ import annotations
