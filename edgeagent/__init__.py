"""edgeagent: field events become Argo workflows over MQTT, none lost, each started once."""

from __future__ import annotations

__version__ = "0.2.0"
