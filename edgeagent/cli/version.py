"""`edgeagent version`: prints the versions of the program and of what it runs on."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import version

import edgeagent
from edgeagent.cli.options import add_json, say, say_json
from edgeagent.mqtt import engines


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser("version", help="print the version")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the version, and what a bug report should name."""
    parts = {"edgeagent": edgeagent.__version__, "python": platform.python_version()}
    parts |= {package: version(package) for package in ("aiomqtt", "msgspec", "h11")}
    fault = engines.codec_fault()
    parts["mqtt5"] = f"cannot be imported ({fault}), so aiomqtt is the MQTT engine" if fault else version("mqtt5")
    if args.json:
        say_json(parts)
    else:
        say(f"edgeagent {parts.pop('edgeagent')} ({', '.join(f'{name} {text}' for name, text in parts.items())})")
    return 0
