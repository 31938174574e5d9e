"""The engine's side of the interface: triggers in, workflows started, answers and status out."""

from __future__ import annotations
