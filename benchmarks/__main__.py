"""Run every benchmark, or those named: `python -m benchmarks outbox_writer`."""

from __future__ import annotations

import sys
from importlib import import_module

_ALL = ("outbox_writer",)


def main() -> int:
    """Print a table for each."""
    for name in sys.argv[1:] or _ALL:
        if name not in _ALL:
            print(f"no benchmark {name!r}; there are {', '.join(_ALL)}", file=sys.stderr)
            return 2
        import_module(f"benchmarks.{name}").run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
