"""RE2: regular expressions, searched in time linear in the text (docs/filters.md)."""

from __future__ import annotations
