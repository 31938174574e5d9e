"""The command line: one module for each command, with argparse and no logic of its own."""

from __future__ import annotations
