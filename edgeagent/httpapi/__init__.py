"""The HTTP server: calls of devices and of the operator, over asyncio."""

from __future__ import annotations
