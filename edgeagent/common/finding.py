"""A finding of `edgeagent doctor`: one statement about one thing, and what to do if something is wrong."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """The severity of a finding. `warn`: it works, but needs attention; `fail`: it does not work."""

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
    """A finding that all is well."""
    return Finding(Level.OK, subject, found)


def warn(subject: str, found: str, remedy: str) -> Finding:
    """A finding that it works, but not for ever, or not safely."""
    return Finding(Level.WARN, subject, found, remedy)


def fail(subject: str, found: str, remedy: str) -> Finding:
    """A finding that it does not work."""
    return Finding(Level.FAIL, subject, found, remedy)
