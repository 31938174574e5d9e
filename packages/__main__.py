"""`python -m packages`: builds the Debian packages of this tree (docs/packages.md)."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from packages.contents import Contents
from packages.errors import BuildFailed
from packages.suites import MACHINES, ROOT, SUITES


def main() -> int:
    """Build what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m packages", description="Build the Debian packages of this tree.")
    parser.add_argument("--suite", action="append", choices=SUITES, help="only for this release (default: all)")
    parser.add_argument("--arch", action="append", choices=MACHINES, help="only for this machine (default: all)")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", metavar="DIR", help="where to (default: dist)")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as work:
            contents = Contents(ROOT, Path(work), _epoch())
            for suite in asked.suite or SUITES:
                for made in contents.packages(SUITES[suite], asked.arch or list(MACHINES), asked.output):
                    print(f"{made.stat().st_size:>9}  {made}", flush=True)
    except BuildFailed as exc:
        print(f"no packages: {exc}", file=sys.stderr)
        return 1
    return 0


def _epoch() -> int:
    """The time that everything in the packages has: $SOURCE_DATE_EPOCH, else that of the last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BuildFailed("this tree has no commit to take the time from: set SOURCE_DATE_EPOCH")
    return int(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
