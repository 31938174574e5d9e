"""An agent that waits for a minute at least after its first try in vain, as others do after several.

`python -m tests.fakes.patient_program COMMAND` is `edgeagent COMMAND`.
"""

from __future__ import annotations

import sys

from edgeagent.__main__ import main
from edgeagent.agent import inflight

if __name__ == "__main__":
    setattr(inflight, "_RETRY_BASE_S", 120.0)  # noqa: B010  a constant; the wait is from half of it to all of it
    sys.exit(main(sys.argv[1:]))
