"""The reader's side of large data: brings an artifact to a file, verified (contract section 10)."""

from __future__ import annotations
