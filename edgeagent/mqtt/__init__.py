"""The MQTT links: engines behind the one interface of `ports.link`. Only this package knows packets."""

from __future__ import annotations
