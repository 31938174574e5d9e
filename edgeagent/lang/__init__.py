"""Languages of other projects: gjson, sjson, govaluate, RE2. None of them knows about events or rules."""

from __future__ import annotations
