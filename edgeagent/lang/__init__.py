"""Languages that other projects defined: gjson, sjson, govaluate, RE2. None of them knows of events and rules."""

from __future__ import annotations
