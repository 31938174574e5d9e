"""Webhooks: reports and statuses, posted to the services that want them."""

from __future__ import annotations
