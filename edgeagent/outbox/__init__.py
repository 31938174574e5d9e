"""The durable buffer on the gateway's disk. Format: docs/format.md."""

from __future__ import annotations
