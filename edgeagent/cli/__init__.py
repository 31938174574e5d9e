"""The command line: one module a command, argparse, no logic of its own."""

from __future__ import annotations
