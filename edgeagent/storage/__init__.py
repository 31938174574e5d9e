"""A database file (SQLite) that may be lost: what the ledger and the MQTT listener keep theirs in."""

from __future__ import annotations
