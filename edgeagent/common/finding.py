"""What `edgeagent doctor` finds: one statement about one thing, and what to do when it is not right."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How serious a finding is. `warn`: it works, but needs attention; `fail`: it does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """One line for a person. `subject` is what was checked; `remedy` is empty only when `level` is ok."""

    level: Level
    subject: str
    found: str
    remedy: str = ""


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, found)


def warn(subject: str, found: str, remedy: str) -> Finding:
    """It works, but not for ever, or not safely."""
    return Finding(Level.WARN, subject, found, remedy)


def fail(subject: str, found: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(Level.FAIL, subject, found, remedy)
