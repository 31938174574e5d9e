"""HTTP for devices and for people: h11 over asyncio."""

from __future__ import annotations
