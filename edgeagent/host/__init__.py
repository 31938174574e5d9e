"""What the operating system sees of the process: supervision, systemd, logging."""

from __future__ import annotations
