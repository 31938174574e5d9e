"""`edgeagent dead`: lists, replays and discards dead letters, on a running agent or a stopped one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain

import msgspec

from edgeagent.cli.access import OutboxAccess, with_outbox
from edgeagent.cli.options import add_actions, say, say_json, terminal_width
from edgeagent.common.foreign import shown
from edgeagent.common.plural import counted
from edgeagent.errors import CommandFailed
from edgeagent.ports.operator import (
    DEAD_LETTER,
    DEAD_LETTERS,
    DEAD_NAMES,
    DISCARD,
    REPLAY,
    DeadLetter,
    DeadQuery,
    NamedTrigger,
    NamedTriggers,
    NoArguments,
)

_SHORT_ID = 12
# How many correlation ids an error names.
_MAX_NAMED = 10
# The width kept for a reason on a narrow terminal, where lines wrap.
_MIN_REASON = 60


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "dead",
        help="dead letters: triggers that were given up",
        description="Triggers that were given up, kept with payload and reason until you decide.",
    )
    actions = add_actions(
        parser,
        run,
        (
            ("ls", "list them, oldest first", _ls),
            ("show", "print one with its data", _show),
            ("replay", "put them back into the outbox, to be sent again", _replay),
            ("discard", "delete them for good", _discard),
        ),
    )
    actions["show"].add_argument("id", help="the correlation id, or its beginning")
    for name in ("replay", "discard"):
        actions[name].add_argument("id", nargs="*", help="correlation ids, or their beginnings")
        actions[name].add_argument("--all", action="store_true", help="all of them")
    actions["discard"].add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")


def run(args: argparse.Namespace) -> int:
    """Perform the action where the dead letters are.

    Raises:
        OutboxLocked: the agent runs, but its socket cannot be reached.
        CommandFailed: there is no such dead letter.
    """
    return with_outbox(args, args.action, read_only=args.action in {_ls, _show})


def _ls(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    letters = _all(outbox)
    if args.json:
        for letter in letters:
            say_json(letter)
        return 0
    first = next(letters, None)
    if first is None:
        say("no dead letters")
        return 0
    say(f"{'TRIGGER':{_SHORT_ID}}  {'GIVEN UP':24}  {'RULE':16}  {'SOURCE':20}  REASON")
    width = terminal_width()
    for letter in chain([first], letters):
        line = f"{letter.correlation_id[:_SHORT_ID]}  {letter.at:24}  {letter.rule:16}  {letter.source:20}  "
        say(line + (shown(letter.reason, max(width - len(line), _MIN_REASON)) if width else letter.reason))
    return 0


def _show(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    name = _by_id(outbox.perform(DEAD_NAMES, NoArguments()).correlation_ids, args.id)
    letter = outbox.perform(DEAD_LETTER, NamedTrigger(name))
    if args.json:
        say_json(letter)
        return 0
    for member, value in msgspec.to_builtins(letter).items():
        say(f"{member.replace('_', ' '):15} {value}")
    return 0


def _replay(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    wanted = _named(args, outbox, "replay")
    replayed = outbox.perform(REPLAY, NamedTriggers(wanted)).replayed if wanted else []
    if args.json:
        say_json({"replayed": replayed})
    else:
        count = counted(len(replayed), "dead letter")
        say(f"{count} put back, to be sent with the same correlation id, so that none can start twice")
    return _left_out("replay", wanted, replayed)


def _discard(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    wanted = _named(args, outbox, "discard")
    if wanted and not args.yes:
        _ask(len(wanted))
    discarded = outbox.perform(DISCARD, NamedTriggers(wanted)).discarded if wanted else []
    if args.json:
        say_json({"discarded": discarded})
    else:
        say(f"{len(discarded)} discarded")
    return _left_out("discard", wanted, discarded)


def _left_out(action: str, wanted: Sequence[str], done: Sequence[str]) -> int:
    """The exit code. What was there when it was looked up and is not any more is named."""
    left = sorted(set(wanted).difference(done))
    if not left:
        return 0
    more = f" and {len(left) - _MAX_NAMED} more" if len(left) > _MAX_NAMED else ""
    raise CommandFailed(
        f"dead {action}: not done, since they are no dead letters any more: {', '.join(left[:_MAX_NAMED])}{more}"
    )


def _ask(count: int) -> None:
    if not sys.stdin.isatty():
        raise CommandFailed("dead discard: give --yes, since there is no terminal to ask at")
    answer = input(f"discard {counted(count, 'dead letter')} for good? [y/N] ")
    if answer.strip().lower() not in {"y", "yes"}:
        raise CommandFailed("dead discard: nothing was discarded")


def _all(outbox: OutboxAccess) -> Iterator[DeadLetter]:
    """Every dead letter, fetched page by page."""
    seq: int | None = 0
    while seq is not None:
        page = outbox.perform(DEAD_LETTERS, DeadQuery(seq))
        yield from page.dead
        seq = page.next_seq


def _named(args: argparse.Namespace, outbox: OutboxAccess, action: str) -> list[str]:
    """The correlation ids named on the command line."""
    if bool(args.id) == args.all:
        raise CommandFailed(f"dead {action}: name correlation ids, or give --all")
    names = outbox.perform(DEAD_NAMES, NoArguments()).correlation_ids
    return list(dict.fromkeys(names if args.all else [_by_id(names, text) for text in args.id]))


def _by_id(names: Sequence[str], text: str) -> str:
    found = [name for name in names if name.startswith(text)]
    if len(found) != 1:
        raise CommandFailed(f"{text!r} names {len(found)} dead letters; see `edgeagent dead ls`")
    return found[0]
