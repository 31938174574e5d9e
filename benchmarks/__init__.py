"""Figures beside their references, measured in the same run: `make bench`."""

from __future__ import annotations
