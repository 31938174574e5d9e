"""Run every benchmark, or those named: `python -m benchmarks [--long] [NAME ...]`; `--help` names them."""

from __future__ import annotations

import argparse
from importlib import import_module

_ALL = (
    "outbox_writer",
    "start",
    "idle",
    "memory",
    "wear",
    "rules",
    "listener",
    "devices",
    "dispatcher",
    "fleet",
    "path",
    "tracking",
    "http",
    "artifacts",
    "large",
    "pending",
    "latency",
)


def main() -> None:
    """Print the tables of each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--long", action="store_true", help="backlogs of 10,000,000 events too, 100,000 triggers, and more rounds"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(_ALL)}; all of them if none is named")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(_ALL):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(_ALL)}")
    for name in arguments.names or _ALL:
        import_module(f"benchmarks.{name}").run(long=arguments.long)


if __name__ == "__main__":
    main()
