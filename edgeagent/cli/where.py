"""`edgeagent where`: the life of a trigger with times, and what it waits for, on a running agent or a stopped one."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus

from edgeagent.cli.access import OutboxAccess, with_outbox
from edgeagent.cli.client import AgentRefused
from edgeagent.cli.options import add_config, add_json, say_json, say_line, terminal_width
from edgeagent.cli.pieces import Line, Piece, Shade
from edgeagent.common.foreign import escaped, shown
from edgeagent.common.foreign import line as on_one_line
from edgeagent.common.spans import span
from edgeagent.common.times import instant
from edgeagent.common.trace_context import trace_context
from edgeagent.errors import CommandFailed
from edgeagent.ports.operator import WHERE
from edgeagent.ports.where import MAX_COURSES, Course, Courses, WhereQuery
from edgeagent.wire.messages import State

_SHORT_ID = 12
_MIN_NOTE = 30
_LABEL = 10
# Shorter times between steps are shown with a decimal.
_EXACT_S = 10
_WAITS = {
    "published": "to be published",
    "triggered": "for the engine's answer",
    "running": "for the first status",
    "ended": "for its end",
    "relayed": "for devices to be told",
    "decided": "for your decision",
}
_GOOD = frozenset({State.SUCCEEDED})
_BAD = frozenset({State.FAILED, State.ERROR, State.REJECTED, State.EXPIRED, State.DROPPED, State.UNKNOWN})


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "where",
        help="what became of a trigger, an event, a workflow or a source's events",
        description="The life of a trigger with times: accepted, published, triggered, each status, relayed; and what "
        "it waits for, with what to do about it. For a source, its newest triggers, one a line. Works on a running "
        "agent and on a stopped one's directory.",
        epilog="Times are UTC. Exit code 1 if nothing of this name is known.",
    )
    parser.add_argument(
        "id", metavar="ID", help="a correlation id or its first 8 digits, an event's id, a workflow's name, or a source"
    )
    add_config(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Find the triggers, and print where they are.

    Raises:
        OutboxLocked: the agent runs, but its socket cannot be reached.
        CommandFailed: nothing of this name is known, or there is no outbox.
    """
    if not args.id.strip():
        raise CommandFailed("where: name a correlation id, an event's id, a workflow or a source")
    # What opening a stopped outbox finds is told by other commands.
    logging.getLogger("edgeagent").addHandler(logging.NullHandler())
    return with_outbox(args, _where, read_only=True)


def _where(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    try:
        found = outbox.perform(WHERE, WhereQuery(args.id))
    except AgentRefused as exc:
        if exc.status == HTTPStatus.NOT_FOUND:
            raise CommandFailed(exc.detail) from exc
        raise
    if args.json:
        say_json(found)
        return 0
    for line in _list(found) if found.kind == "source" and len(found.triggers) > 1 else _lives(found):
        say_line(line)
    return 0


def _lives(found: Courses) -> Iterator[Line]:
    """Each trigger with all its steps."""
    event = found.event
    if event is not None:
        kind = f" of type {event.type}" if event.type else ""
        yield [Piece(f"event {event.id} from {event.source}{kind}")]
    for number, course in enumerate(found.triggers):
        if number or event is not None:
            yield []
        yield from _life(course)


def _life(course: Course) -> Iterator[Line]:
    name = Piece(course.correlation_id, Shade.STRONG)
    yield [Piece("trigger "), name, Piece(" is "), Piece(course.state, _shade(course))]
    yield _row("rule", f"{course.rule or '(unknown)'}, source {course.source}")
    if course.workflow_id:
        yield _row("workflow", "/".join(filter(None, (course.namespace, course.workflow_id))))
    if (trace := trace_context(course.traceparent)) is not None:
        yield _row("trace", trace.trace_id)
    before: datetime | None = None
    for step in course.steps:
        at = _instant(step.at)
        later = f"+{_gap(before, at)}" if before is not None and at is not None else ""
        before = at or before
        text = f"{step.at or '(time not kept)':24}  {later:>10}"
        detail = f"  {step.detail}" if step.detail else ""
        yield _row(step.step, text + detail)
    for output, value in (course.outputs or {}).items():
        yield _row("output", f"{output}: {on_one_line(value)}")
    for request in course.managed or ():
        why = f": {request.why}" if request.why else ""
        yield _row("request", f"{request.at:24}  {request.operation} {request.state}{why}")
    for lost in course.lost_reports or ():
        yield _row("lost", f"{lost.at:24}  report {lost.state} to {lost.webhook}: {lost.why}", Shade.BAD)
    if course.hangs is not None:
        hang = course.hangs
        yield _row("waits", f"{_WAITS.get(hang.step, hang.step)}: {hang.text}", Shade.WAITING)
        if hang.advice:
            yield _row("", hang.advice, Shade.STRONG)


def _list(found: Courses) -> Iterator[Line]:
    """The triggers of a source, one a line."""
    width = terminal_width()
    yield [Piece(f"{'TRIGGER':{_SHORT_ID}}  {'ACCEPTED':24}  {'STATE':9}  {'RULE':16}  WAITS FOR")]
    for course in found.triggers:
        short, accepted = course.correlation_id[:_SHORT_ID], course.steps[0].at or ""
        place = f"{short}  {accepted:24}  "
        rule = f"{escaped(course.rule):16}  "
        room = max(width - len(place) - len(rule) - 11, _MIN_NOTE) if width else None
        note = _note(course)
        note = shown(note, room) if room is not None else note
        state = Piece(f"{course.state:9}", _shade(course))
        yield [Piece(place), state, Piece(f"  {rule}"), Piece(note, Shade.WAITING)]
    most = f" (the newest {MAX_COURSES})" if len(found.triggers) == MAX_COURSES else ""
    yield [Piece(f"{len(found.triggers)} triggers{most}; edgeagent where TRIGGER shows one", Shade.FAINT)]


def _note(course: Course) -> str:
    if course.hangs is not None:
        return course.hangs.text
    return course.steps[-1].detail or "" if course.state in _BAD else ""


def _row(label: str, text: str, shade: Shade = Shade.PLAIN) -> Line:
    return [Piece(f"  {label:{_LABEL}}  "), Piece(text, shade)]


def _shade(course: Course) -> Shade:
    if course.state in _GOOD:
        return Shade.GOOD
    if course.state in _BAD:
        return Shade.BAD
    return Shade.WAITING if course.hangs is not None else Shade.PLAIN


def _instant(at: str | None) -> datetime | None:
    try:
        return instant(at) if at else None
    except ValueError:
        return None


def _gap(before: datetime, at: datetime) -> str:
    seconds = (at - before).total_seconds()
    return f"{seconds:.1f} s" if abs(seconds) < _EXACT_S else span(seconds)
