"""The demo: a broker, a dry-run dispatcher and an agent on this machine, a sensor, and an uplink that breaks.

`show.play` is the whole of it; `series` and `tally` are what it plays and what it checks, both pure.
"""

from __future__ import annotations
