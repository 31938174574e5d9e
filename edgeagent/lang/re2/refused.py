"""The error of a pattern that this program does not take, for those who handle it without having any pattern."""

from __future__ import annotations


class PatternRefused(ValueError):
    """A pattern that RE2 may accept and this program does not. The text says why."""
