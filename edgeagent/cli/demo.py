"""`edgeagent demo`: a sensor, a failing uplink, a killed agent, and the account, on this machine."""

from __future__ import annotations

import argparse
import asyncio

from edgeagent.demo.broker import BROKERS


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="play a broken uplink on this machine, and end with the account",
        description="Start a broker, a dry-run dispatcher and an agent on loopback, in a temporary directory; play two "
        "months of a real flow sensor to them in half a minute; cut the uplink and kill the agent in between. "
        "Exit 0 only if no workflow was lost and none was started twice.",
    )
    parser.add_argument("--keep", action="store_true", help="leave everything running afterwards, until Ctrl-C")
    parser.add_argument("--plain", action="store_true", help="plain lines, on a terminal too")
    parser.add_argument("--broker", choices=BROKERS, help="which broker (default: Mosquitto if it is installed)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    Raises:
        EdgeAgentError: it could not be played to its end.
    """
    from edgeagent.demo.show import Options, show  # noqa: PLC0415  the other commands do without it

    return asyncio.run(show(Options(plain=args.plain, keep=args.keep, broker=args.broker)))
