"""Uploads of artifacts into a store; imported only when `[artifacts]` is configured."""

from __future__ import annotations
