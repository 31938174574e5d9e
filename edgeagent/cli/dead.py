"""`edgeagent dead`: lists, replays and discards dead letters, on a running agent or a stopped one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import msgspec

from edgeagent.cli.access import OutboxAccess, with_outbox
from edgeagent.cli.options import add_actions, say, say_json, terminal_width
from edgeagent.common.foreign import shown
from edgeagent.common.plural import counted
from edgeagent.errors import CommandFailed
from edgeagent.ports.operator import DEAD_LETTERS, DISCARD, REPLAY, DeadLetter, NamedTriggers, NoArguments

_SHORT_ID = 12
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
    found = outbox.perform(DEAD_LETTERS, NoArguments()).dead
    if args.json:
        for letter in found:
            say_json(letter)
        return 0
    if not found:
        say("no dead letters")
        return 0
    say(f"{'TRIGGER':{_SHORT_ID}}  {'GIVEN UP':24}  {'RULE':16}  {'SOURCE':20}  REASON")
    width = terminal_width()
    for letter in found:
        line = f"{letter.correlation_id[:_SHORT_ID]}  {letter.at:24}  {letter.rule:16}  {letter.source:20}  "
        say(line + (shown(letter.reason, max(width - len(line), _MIN_REASON)) if width else letter.reason))
    return 0


def _show(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    letter = _by_id(outbox.perform(DEAD_LETTERS, NoArguments()).dead, args.id)
    if args.json:
        say_json(letter)
        return 0
    for name, value in msgspec.to_builtins(letter).items():
        say(f"{name.replace('_', ' '):15} {value}")
    return 0


def _replay(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    wanted = _named(args, outbox, "replay")
    replayed = outbox.perform(REPLAY, NamedTriggers(wanted)).replayed if wanted else []
    if args.json:
        say_json({"replayed": replayed})
    else:
        count = counted(len(replayed), "dead letter")
        say(f"{count} put back, to be sent with the same correlation id, so that none can start twice")
    return 0 if len(replayed) == len(wanted) else 1


def _discard(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    wanted = _named(args, outbox, "discard")
    if wanted and not args.yes:
        _ask(len(wanted))
    discarded = outbox.perform(DISCARD, NamedTriggers(wanted)).discarded if wanted else []
    if args.json:
        say_json({"discarded": discarded})
    else:
        say(f"{len(discarded)} discarded")
    return 0 if len(discarded) == len(wanted) else 1


def _ask(count: int) -> None:
    if not sys.stdin.isatty():
        raise CommandFailed("dead discard: give --yes, since there is no terminal to ask at")
    answer = input(f"discard {counted(count, 'dead letter')} for good? [y/N] ")
    if answer.strip().lower() not in {"y", "yes"}:
        raise CommandFailed("dead discard: nothing was discarded")


def _named(args: argparse.Namespace, outbox: OutboxAccess, action: str) -> list[str]:
    """The correlation ids named on the command line."""
    found = outbox.perform(DEAD_LETTERS, NoArguments()).dead
    if bool(args.id) == args.all:
        raise CommandFailed(f"dead {action}: name correlation ids, or give --all")
    letters = found if args.all else [_by_id(found, text) for text in args.id]
    return list(dict.fromkeys(letter.correlation_id for letter in letters))


def _by_id(letters: Sequence[DeadLetter], text: str) -> DeadLetter:
    found = [letter for letter in letters if letter.correlation_id.startswith(text)]
    if len(found) != 1:
        raise CommandFailed(f"{text!r} names {len(found)} dead letters; see `edgeagent dead ls`")
    return found[0]
