"""The MQTT links: engines behind the one interface of `ports.link`. Only this package and `listener` know packets."""

from __future__ import annotations
