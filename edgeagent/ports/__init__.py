"""The interfaces between the parts of one process, and the data that they exchange."""

from __future__ import annotations
