"""Why packages cannot be built."""

from __future__ import annotations


class BuildFailed(Exception):
    """No package was made; the message says what is missing or wrong."""
