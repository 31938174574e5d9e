"""The demo: a broker, a dispatcher in dry run and an agent on this machine, a sensor, and an uplink that fails.

`show.show` runs all of it; `series` is what it plays, read from a file, and `tally` what it checks, which is pure.
"""

from __future__ import annotations
