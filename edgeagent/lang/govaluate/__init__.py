"""govaluate: the expressions of an Argo Events Sensor (docs/expressions.md)."""

from __future__ import annotations
