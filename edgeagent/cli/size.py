"""`edgeagent size`: from events, their size and the time without a link to `outbox.max_bytes` and the flash's life."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

from edgeagent.cli.options import add_json, say, say_json
from edgeagent.common.units import Duration, Size
from edgeagent.outbox.sizing import Flash, Load, Sizes, sizes

T = TypeVar("T", Duration, Size)

_HOUR_S = 3600
_MOST_EVENTS = 10**9  # a day
_MOST_RULES = 100
_MOST_FACTOR = 1000.0
_FOREVER_YEARS = 100


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "size",
        help="work out how large the outbox must be, and how long the flash lasts",
        description="Work out, from the events of a day, their size and the time without a link, how large the outbox "
        "must be, and how long the flash lasts. It asks no agent.",
    )
    parser.add_argument(
        "--events", type=_number(_MOST_EVENTS), default=86_400, metavar="N", help="events a day (default: 86400)"
    )
    parser.add_argument(
        "--bytes", type=_unit(Size), default=Size(200), metavar="SIZE", help="of an event's data (default: 200)"
    )
    parser.add_argument(
        "--offline",
        type=_unit(Duration),
        default=Duration(72 * _HOUR_S),
        metavar="TIME",
        help="the longest time without a link (default: 3d)",
    )
    parser.add_argument(
        "--rules", type=_number(_MOST_RULES), default=1, metavar="N", help="rules that an event fires (default: 1)"
    )
    parser.add_argument("--untracked", action="store_true", help="the rules have track = false, so no states are kept")
    parser.add_argument(
        "--flash", type=_unit(Size), default=Size(8 * 10**9), metavar="SIZE", help="of the card or eMMC (default: 8GB)"
    )
    parser.add_argument(
        "--cycles",
        type=_number(10**6),
        default=3000,
        metavar="N",
        help="how often it can be written over (default: 3000)",
    )
    parser.add_argument(
        "--amplification",
        type=_factor,
        default=4.0,
        metavar="X",
        help="bytes the flash writes for each byte written to it, with the file system's journal (default: 4)",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the sizes."""
    load = Load(args.events, args.bytes, args.offline, args.rules, not args.untracked)
    found = sizes(load, Flash(float(args.flash) * args.cycles, args.amplification))
    if args.json:
        years = found.flash_years if math.isfinite(found.flash_years) else None
        say_json({**found._asdict(), "flash_years": years})
        return 0
    for name, text in _lines(load, found):
        say(f"{name:<18}{text}")
    return 0


def _lines(load: Load, found: Sizes) -> list[tuple[str, str]]:
    states = "outbox and ledger" if load.tracked else "the outbox"
    return [
        ("an event", f"{found.record_bytes} B on the disk while it waits"),
        (
            "without a link",
            f"{found.waiting_events} events wait after {_hours(load.offline_s)}: {_size(found.waiting_bytes)}",
        ),
        ("outbox.max_bytes", f'"{found.max_bytes >> 20}MiB"'),
        (
            "written",
            f"{_size(found.written_bytes_per_event)} an event by {states}, {_size(found.written_bytes_per_day)} a day",
        ),
        ("flash", _life(found.flash_years)),
    ]


def _life(years: float) -> str:
    if years >= _FOREVER_YEARS:
        return f"more than {_FOREVER_YEARS} years"
    return (
        f"{years:.1f} years"
        if years >= 1
        else f"{years * 12:.1f} months: commit fewer, larger batches, or take a larger flash"
    )


def _hours(seconds: float) -> str:
    return f"{seconds / _HOUR_S:g} h"


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:  # noqa: PLR2004
            return f"{size:.1f} {unit}" if unit != "B" else f"{size_bytes} B"
        size /= 1024
    return f"{size:.1f} GiB"


def _unit(kind: type[T]) -> Callable[[str], T]:
    def read(text: str) -> T:
        try:
            return kind.parse(int(text) if text.isdecimal() else text)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from exc

    return read


def _number(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not 0 < int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {most}")
        return int(text)

    return read


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 1.0 <= factor <= _MOST_FACTOR:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST_FACTOR:g}")
    return factor
