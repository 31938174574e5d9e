"""The pure core: values and a time in, data out. No asyncio, no os, no clock, no randomness, no logging."""

from __future__ import annotations
