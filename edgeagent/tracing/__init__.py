"""Spans on their way to a collector of OpenTelemetry."""

from __future__ import annotations
