"""gjson: paths that find values in decoded JSON (docs/paths.md)."""

from __future__ import annotations
