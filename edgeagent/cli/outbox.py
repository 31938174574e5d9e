"""`edgeagent outbox`: lists, verifies, exports and imports triggers, on a running agent or a stopped one."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.cli.access import OutboxAccess, with_outbox
from edgeagent.cli.options import add_actions, say, say_json
from edgeagent.cli.outbox_data import DataExport, altered, take_data
from edgeagent.cli.progress import ProgressLine
from edgeagent.common.plural import counted
from edgeagent.common.times import rfc3339
from edgeagent.errors import CommandFailed, EdgeAgentError
from edgeagent.events.artifact import Artifact
from edgeagent.outbox.exportfile import ExportReader, ExportWriter
from edgeagent.outbox.owner import as_ourselves
from edgeagent.ports.operator import (
    FIND,
    OVERVIEW,
    RELEASE_EXPORTED,
    TAKE_IN,
    VERIFY,
    WAITING,
    ExportedRanges,
    FindQuery,
    ImportPart,
    LogPlace,
    NoArguments,
    Waiting,
    WaitingQuery,
)
from edgeagent.ports.transfer import ExportedData, ExportedTrigger
from edgeagent.ports.verification import DamagedRange, Overview

_SENT_LOGS = ("high", "normal", "windows", "limited", "parked")
_LOGS = (*_SENT_LOGS, "dead")
_SHORT_ID = 12
_LISTED = 50
_PAGE = 1000
# The limits of one import request: in triggers, and roughly in bytes.
_PART_TRIGGERS = 500
_PART_BYTES = 1 << 20
# How many ranges of seqs one request releases.
_PART_RANGES = 10_000


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "outbox",
        help="what waits in the outbox: list, verify, export, import",
        description="The triggers on this gateway's disk. Works on a running agent and on a stopped one's directory.",
    )
    actions = add_actions(
        parser,
        run,
        (
            ("ls", "list what waits, oldest first", _ls),
            ("show", "print one trigger with its data", _show),
            ("verify", "read everything and report damage; exit 0 only if nothing is wrong", _verify),
            ("export", "move what is not in flight into a new file, to be imported elsewhere", _export),
            ("import", "store the triggers of an export file", _import),
        ),
    )
    actions["ls"].add_argument("--log", choices=_LOGS, help="only this log (default: all that is still to be sent)")
    actions["ls"].add_argument("--limit", type=_limit, default=_LISTED, metavar="N", help=f"at most N ({_LISTED})")
    actions["show"].add_argument("id", help="the correlation id or its beginning, or the event's id")
    for name in ("export", "import"):
        actions[name].add_argument("file", type=Path, metavar="FILE")


def run(args: argparse.Namespace) -> int:
    """Perform the action on the outbox.

    Raises:
        OutboxLocked: the agent runs, but its socket cannot be reached.
        CommandFailed: there is no outbox, no such trigger, or the file cannot be used.
    """
    read_only = args.action in {_ls, _show, _verify}
    if read_only:  # what opening a stopped outbox finds is part of the answer, not a log line
        logging.getLogger("edgeagent").addHandler(logging.NullHandler())
    return with_outbox(args, args.action, read_only=read_only)


def _limit(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _ls(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    logs = (args.log,) if args.log else _SENT_LOGS
    listed: list[Waiting] = []
    counts: dict[str, int] = {}
    for log in logs:
        counts[log] = outbox.perform(WAITING, WaitingQuery(log, limit=1)).waiting
        listed += islice(_walk(outbox, log, min(args.limit, _PAGE)), args.limit)
    listed.sort(key=lambda each: each.trigger.accepted_ms)
    del listed[args.limit :]
    if args.json:
        for waiting in listed:
            say_json(_row(waiting))
        return 0
    if listed:
        say(f"{'SEQ':>8}  {'LOG':7}  {'TRIGGER':{_SHORT_ID}}  {'ACCEPTED':24}  {'BYTES':>7}  {'RULE':16}  SOURCE")
    for waiting in listed:
        trigger = waiting.trigger
        short, accepted = waiting.correlation_id[:_SHORT_ID], rfc3339(trigger.accepted_ms)
        taken = "in flight" if trigger.artifact is None else "in flight, or waits for its upload"
        note = f"  ({taken})" if waiting.in_flight else ""
        size = trigger.artifact.size if trigger.artifact is not None else waiting.data_bytes
        say(
            f"{waiting.seq:>8}  {waiting.log:7}  {short}  {accepted}  {size:>7}  "
            f"{trigger.rule:16}  {trigger.source}{note}"
        )
    parts = ", ".join(f"{log}: {count}" for log, count in counts.items())
    say(f"{counted(sum(counts.values()), 'trigger waits', 'triggers wait')} ({parts}); {len(listed)} listed")
    return 0


def _show(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    if not args.id:
        raise CommandFailed("outbox show: name a correlation id, or an event's id")
    found = outbox.perform(FIND, FindQuery(args.id)).found
    if len(found) != 1:
        names = "".join(f" {each.correlation_id} ({each.trigger.rule})" for each in found)
        raise CommandFailed(f"{args.id!r} names {len(found)} triggers of the outbox{':' if names else ''}{names}")
    artifact = found[0].trigger.artifact
    row = _row(found[0]) | {"data": found[0].trigger.data or found[0].trigger.data_base64}
    if args.json:
        say_json(row)
        return 0
    for name, value in (row | ({"artifact": artifact} if artifact else {})).items():
        say(f"{name.replace('_', ' '):15} {_text(value)}")
    return 0


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Artifact):
        return f"{value.size} bytes of {value.content_type}, sha256 {value.sha256}"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _verify(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    overview = outbox.perform(OVERVIEW, NoArguments())
    records = 0
    damaged: list[DamagedRange] = []
    artifacts: set[Artifact] = set()
    total = sum(extent.end_seq - extent.first_seq for extent in overview.logs.values())
    done = 0
    with ProgressLine("verifying") as progress:
        for log, extent in overview.logs.items():
            seq: int | None = extent.first_seq
            while seq is not None and seq < extent.end_seq:
                part = outbox.perform(VERIFY, LogPlace(log, seq))
                records += part.records
                damaged += part.damaged
                artifacts.update(part.artifacts)
                seq = part.next_seq
                progress.at(done + (seq or extent.end_seq) - extent.first_seq, total)
            done += extent.end_seq - extent.first_seq
    faults = [*overview.faults(), *altered(outbox, artifacts)]
    sound = not damaged and not faults
    if args.json:
        found = {"sound": sound, "records": records, "damaged": damaged, "faults": faults}
        say_json(found | msgspec.structs.asdict(overview))
    else:
        _print_verified(overview, damaged, faults, records)
    return 0 if sound else 1


def _print_verified(overview: Overview, damaged: list[DamagedRange], faults: list[str], records: int) -> None:
    say(f"{counted(records, 'good record')} in {len(overview.logs)} logs; {overview.cursor}")
    for torn in overview.torn:
        say(
            f"{torn.file}: {counted(torn.bytes, 'half-written byte')} at the end, as a power cut leaves them; no "
            "acknowledged event was in them, unless the disk lost data that it had synced, which cannot be detected"
        )
    for damage in damaged:
        where = damage.reason or "missing from the disk"
        if damage.file:
            where = f"{damage.file}, bytes {damage.offset} to {damage.end}"
        say(
            f"DAMAGED log {damage.log}, seq {damage.first_seq} to {damage.last_seq}: {where}; "
            f"pending among them: {damage.pending}"
        )
    for fault in faults:
        say(f"WRONG   {fault}")
    if overview.spool is not None:
        say(f"spool: {counted(overview.spool.files, 'file')}, {overview.spool.bytes} bytes")
    account = msgspec.structs.asdict(overview.account)
    say("account: " + ", ".join(f"{name} {count}" for name, count in account.items() if count))
    if not damaged and not faults:
        say("nothing is wrong")


def _export(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    ranges: list[tuple[str, int, int]] = []
    created = rfc3339(time.time_ns() // 1_000_000)
    overview = outbox.perform(OVERVIEW, NoArguments())
    with_data = overview.spool is not None and overview.spool.files > 0
    taken = 0
    with (
        _writer(args.file, outbox.agent, created, with_data=with_data) as writer,
        ProgressLine("exporting") as progress,
    ):
        data = DataExport(outbox, writer)
        for log in _SENT_LOGS:
            total = outbox.perform(WAITING, WaitingQuery(log, limit=1)).waiting
            for done, waiting in enumerate(_walk(outbox, log, _PAGE)):
                progress.at(done, total)
                taken += waiting.in_flight
                if not waiting.in_flight and data.add(waiting.trigger.artifact):
                    writer.add(waiting.trigger)
                    _extend(ranges, log, waiting.seq)
        count = writer.triggers
        if count:
            with as_ourselves():
                writer.finish()
    if not count:
        text = f"nothing waits that is not in flight: no file was made{_staying(taken)}"
        _print(args, {"exported": 0, "file": None}, text)
        return 0
    if read_only := overview.read_only:
        text = f"{counted(count, 'trigger')} copied to {args.file}, and kept here too under the same name: {read_only}"
        _print(args, {"exported": 0, "in_file": count, "file": str(args.file), "read_only": True}, text)
        return 0
    released = _release(args.file, outbox, ranges)
    text = f"{counted(released, 'trigger')} moved to {args.file}; import the file on a gateway that can send"
    text += _staying(taken)
    if released < count:
        more = counted(count - released, "more trigger that was", "more triggers that were")
        text += f"; it also holds {more} sent from here meanwhile, under the same name"
    _print(args, {"exported": released, "in_file": count, "file": str(args.file)}, text)
    return 0


def _staying(taken: int) -> str:
    """What to do about triggers that a running agent has taken up."""
    if not taken:
        return ""
    them = counted(taken, "trigger stays", "triggers stay")
    return f"; {them} here, in flight or waiting for their data to be uploaded: to move them too, stop the agent first"


@contextmanager
def _writer(file: Path, agent: str, created: str, *, with_data: bool) -> Iterator[ExportWriter]:
    """A writer for the file that the operator named, with the operator's rights; an unfinished file is removed."""
    with ExitStack() as stack:
        with as_ourselves():
            writer = ExportWriter(file, agent, created, with_data=with_data)
        stack.callback(_close, writer)
        yield writer


def _close(writer: ExportWriter) -> None:
    with as_ourselves():
        writer.close()


def _release(file: Path, outbox: OutboxAccess, ranges: list[tuple[str, int, int]]) -> int:
    released = 0
    try:
        for first in range(0, len(ranges), _PART_RANGES):
            by_log: dict[str, list[tuple[int, int]]] = {}
            for log, start, end in ranges[first : first + _PART_RANGES]:
                by_log.setdefault(log, []).append((start, end))
            released += outbox.perform(RELEASE_EXPORTED, ExportedRanges(by_log)).released
    except EdgeAgentError as exc:
        raise CommandFailed(
            f"{file} is complete, but some of its triggers could not be released here: once it is imported, they are "
            f"sent from both gateways, and start once all the same: {exc}"
        ) from exc
    return released


def _extend(ranges: list[tuple[str, int, int]], log: str, seq: int) -> None:
    if ranges and ranges[-1][0] == log and ranges[-1][2] == seq:
        ranges[-1] = (log, ranges[-1][1], seq + 1)
    else:
        ranges.append((log, seq, seq + 1))


def _import(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    with as_ourselves():  # only the operator may be able to read it
        reader = ExportReader(args.file)
    with reader:
        return _take_in(args, outbox, reader)


def _take_in(args: argparse.Namespace, outbox: OutboxAccess, reader: ExportReader) -> int:
    size = reader.size_bytes
    total = 0
    with ProgressLine("checking") as progress:
        for total, _ in enumerate(reader.triggers(), 1):  # noqa: B007  the last number is how many there are
            progress.at(reader.read_bytes, size)
    digest = reader.digest
    stored = known = 0
    with ProgressLine("importing") as progress:
        for part in _parts(reader.items()):
            try:
                if isinstance(part, ExportedData):
                    take_data(outbox, part)
                    continue
                taken = outbox.perform(TAKE_IN, ImportPart(digest, stored + known + 1, part))
            except EdgeAgentError as exc:
                raise CommandFailed(
                    f"{stored + known} of {counted(total, 'trigger')} imported: {exc}; import the file again later: "
                    "those already here are recognised"
                ) from exc
            stored += taken.stored
            known += taken.known
            progress.at(stored + known, total)
    text = f"{counted(stored, 'trigger')} imported; triggers keep their names, so that none can start twice"
    if known:
        text += f"; {known} came before from the same file"
    _print(args, {"imported": stored, "known": known}, text)
    return 0


def _parts(items: Iterator[ExportedTrigger | ExportedData]) -> Iterator[list[ExportedTrigger] | ExportedData]:
    """Triggers in parts, each after the data that it needs."""
    part: list[ExportedTrigger] = []
    size = 0
    for item in items:
        if isinstance(item, ExportedData):
            yield item
            continue
        part.append(item)
        size += len(item.data or item.data_base64 or "")
        if len(part) == _PART_TRIGGERS or size > _PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _walk(outbox: OutboxAccess, log: str, page_size: int) -> Iterator[Waiting]:
    """Every trigger that waits in a log, oldest first."""
    seq: int | None = 0
    while seq is not None:
        page = outbox.perform(WAITING, WaitingQuery(log, seq, page_size))
        yield from page.triggers
        seq = page.next_seq


def _row(waiting: Waiting) -> dict[str, Any]:
    """A trigger for people and programs, without its data."""
    trigger = waiting.trigger
    row: dict[str, Any] = msgspec.to_builtins(trigger)
    row.pop("data", None)
    row.pop("data_base64", None)
    position = {"seq": waiting.seq, "log": waiting.log, "correlation_id": waiting.correlation_id}
    facts = {"accepted": rfc3339(trigger.accepted_ms), "data_bytes": waiting.data_bytes, "in_flight": waiting.in_flight}
    return position | facts | row | ({"reason": waiting.reason} if waiting.reason else {})


def _print(args: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    if args.json:
        say_json(document)
    else:
        say(text)
