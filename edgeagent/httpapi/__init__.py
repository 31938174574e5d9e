"""The HTTP server for devices and the operator, on asyncio."""

from __future__ import annotations
