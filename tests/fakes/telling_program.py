"""`python -m tests.fakes.telling_program COMMAND` is `edgeagent COMMAND`, and prints at its end what it has loaded."""

from __future__ import annotations

import sys

from edgeagent.__main__ import main

MARK = "loaded:"


if __name__ == "__main__":
    code = main()
    sys.stdout.write(" ".join((MARK, *sorted(sys.modules), "\n")))
    sys.exit(code)
