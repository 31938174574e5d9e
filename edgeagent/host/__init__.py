"""The process as the operating system sees it: supervision, systemd, logging."""

from __future__ import annotations
