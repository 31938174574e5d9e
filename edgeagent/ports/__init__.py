"""The interfaces through which the parts of one process meet, and the data that passes."""

from __future__ import annotations
