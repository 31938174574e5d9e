"""AMQP 0-9-1 links: one connection or two behind the one interface of `ports.link`. Only this package knows frames."""

from __future__ import annotations
