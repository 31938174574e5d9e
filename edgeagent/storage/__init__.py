"""A database file (SQLite) that may be lost, and when it commits: the ledger and the MQTT listener keep theirs in one."""

from __future__ import annotations
