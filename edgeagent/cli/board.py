"""One screen about an agent: what it says of itself, laid out as lines (`edgeagent status`, `edgeagent top`). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from edgeagent.cli.pieces import Line, Piece, Shade
from edgeagent.cli.shown_stats import Rates, ShownLink, ShownRate, ShownReceiver, ShownRule, ShownStats
from edgeagent.common.foreign import escaped
from edgeagent.common.foreign import line as on_one_line
from edgeagent.common.plural import counted
from edgeagent.common.spans import span
from edgeagent.common.times import instant
from edgeagent.ports.account import Account

MIN_WIDTH: Final = 80
MIN_HEIGHT: Final = 24
_LABEL: Final = 9
_MIB: Final = 1 << 20
_NAME: Final = 20
_MOST_TROUBLES: Final = 4
_MIN_RULES: Final = 3
# Below so many hours of headroom the number is shown as bad.
_SHORT_H: Final = 24.0
_STUCK_S: Final = 600.0
_ENDLESS: Final = 1 << 20


class Board(NamedTuple):
    """What is shown. `oldest_ms`: when the event of the oldest pending trigger was accepted; None if none waits."""

    stats: ShownStats
    not_ready: str
    oldest_ms: int | None
    rates: Rates | None
    now_ms: int


def board_lines(board: Board, width: int, height: int, *, scrolls: bool = False) -> list[Line]:
    """Lines of at most `width` columns, and at most `height` lines; what there is no room for is counted, not shown.

    Long reasons go on in further lines while there is room for them; if the screen `scrolls`, there always is.
    """
    head = [
        _title(board),
        *_uplink(board),
        *_devices(board.stats),
        *_outbox(board),
        *_uploads(board),
        *_webhooks(board.stats),
    ]
    head += [*_rates(board), *_account(board)]
    troubles = [*_troubles(board.stats)][: _MOST_TROUBLES + 2]
    least = _MIN_RULES + 1 if board.stats.rules else 0
    spare = _ENDLESS if scrolls else max(height - len(head) - len(troubles) - least, 0)
    above = _wrapped(head, width, spare)
    below = _wrapped(troubles, width, spare - (len(above) - len(head)))
    rules = _rules(board.stats.rules, max(height - len(above) - len(below), _MIN_RULES))
    lines = [*above, *(_cut(line, width) for line in rules), *below]
    return lines if scrolls else lines[:height]


def plain_line(board: Board) -> str:
    """The most important figures on one line, for `top` without a terminal."""
    stats, pending = board.stats, board.stats.account.triggers.pending
    parts = [
        "uplink up" if stats.uplink.connected else f"uplink down ({on_one_line(stats.uplink.error) or 'not yet up'})",
        _rates_text(board.rates),
        f"pending {pending:,}",
        *([f"oldest {_oldest(board)}"] if board.oldest_ms is not None and pending else []),
        *([f"full in {_hours(stats.outbox.hours_left)}"] if stats.outbox.hours_left is not None else []),
        *([f"parked {stats.outbox.parked:,}"] if stats.outbox.parked else []),
        *([f"dead {stats.outbox.dead.count:,}"] if stats.outbox.dead.count else []),
        *([] if stats.account.balanced else ["ACCOUNT NOT BALANCED"]),
        *([on_one_line(stats.uplink.trouble)] if pending and stats.uplink.trouble else []),
    ]
    return ", ".join(parts)


def _title(board: Board) -> Line:
    stats = board.stats
    up = f"   up {_since(stats.started, board.now_ms)}" if stats.started else ""
    ready = (
        Piece("not ready: " + on_one_line(board.not_ready), Shade.BAD)
        if board.not_ready
        else Piece("ready", Shade.GOOD)
    )
    rescue = [Piece("   RESCUE: the disk can only be read", Shade.BAD)] if stats.rescue else []
    return [Piece(f"edgeagent {stats.agent}", Shade.STRONG), Piece(f"   {stats.version}{up}   "), ready, *rescue]


def _uplink(board: Board) -> Iterator[Line]:
    uplink = board.stats.uplink
    yield _link("uplink", uplink, board.now_ms)
    if uplink.trouble and uplink.connected:
        remedy = f"; {uplink.remedy}" if uplink.remedy else ""
        yield _row("", Piece(on_one_line(uplink.trouble + remedy, 400), Shade.WAITING))


def _link(label: str, link: ShownLink, now_ms: int) -> Line:
    since = f" for {_since(link.since, now_ms)}" if link.since else ""
    if link.connected:
        return _row(label, Piece(f"up{since}", Shade.GOOD), Piece(f"   {link.address}"))
    reason = on_one_line(link.error, 400) or "not connected yet"
    where = "" if link.address in reason else f" ({link.address})"
    return _row(label, Piece(f"down{since}: ", Shade.BAD), Piece(f"{reason}{where}"))


def _devices(stats: ShownStats) -> Iterator[Line]:
    mqtt = stats.mqtt
    if mqtt is not None:
        refused = f", {mqtt.connects_refused:,} refused" if mqtt.connects_refused else ""
        held = f"; held: {on_one_line(mqtt.held)}" if mqtt.held else ""
        devices = f"{counted(mqtt.connections, 'device')} connected, {counted(mqtt.sessions, 'session')}{refused}{held}"
        yield _row("mqtt", Piece(f"{devices}   {', '.join(mqtt.addresses)}"))
    if stats.http.addresses:
        connections = counted(stats.http.connections, "connection")
        yield _row("http", Piece(f"{connections}   {', '.join(stats.http.addresses)}"))


def _webhooks(stats: ShownStats) -> Iterator[Line]:
    """The receiver that lost most reports, else the first that takes none, and how many more there are."""
    receivers = stats.webhooks.receivers if stats.webhooks is not None else []
    bad = [each for each in receivers if each.gone or each.last_error]
    if not bad:
        return
    worst = max(bad, key=lambda each: each.lost)
    more = f"; {counted(len(bad) - 1, 'webhook more has', 'webhooks more have')} trouble" if len(bad) > 1 else ""
    text = f"{worst.webhook}: {_webhook_trouble(worst)}{more}"
    yield _row("webhook", Piece(text, Shade.BAD if worst.lost else Shade.WAITING))


def _webhook_trouble(receiver: ShownReceiver) -> str:
    lost = f"{counted(receiver.lost, 'report is', 'reports are')} lost"
    if receiver.gone:
        return f"{lost}: wants no more (410)"
    why = on_one_line(receiver.last_error, 200)
    if not receiver.failures:
        return f"{lost}: {why}"
    ending = f", {receiver.lost:,} lost" if receiver.lost else ""
    return f"takes no reports: {why}; {counted(receiver.pending, 'waits', 'wait')}{ending}"


def _uploads(board: Board) -> Iterator[Line]:
    """What waits for the store, or why the store takes nothing."""
    artifacts = board.stats.artifacts
    if artifacts is None:
        return
    waits = (
        f"{counted(artifacts.triggers, 'trigger waits', 'triggers wait')} for {artifacts.waiting_bytes / _MIB:.1f} MiB"
    )
    if artifacts.failing_since:
        why = (
            f": not taken for {_since(artifacts.failing_since, board.now_ms)}: {on_one_line(artifacts.last_error, 400)}"
        )
        again = "" if artifacts.next_try_s is None else f"; tried again in {span(artifacts.next_try_s)}"
        yield _row("store", Piece(waits + why + again, Shade.WAITING))
    else:
        sending = f", {artifacts.sending:,} on the way" if artifacts.sending else ""
        yield _row("store", Piece(f"{waits if artifacts.triggers else 'nothing waits'}{sending}   {artifacts.store}"))
    spool = board.stats.spool
    if spool is not None and spool.incoming:
        room = f"{spool.incoming_bytes / _MIB:.1f} of {spool.incoming_reserved_bytes / _MIB:.1f} MiB came"
        yield _row("", Piece(f"{counted(spool.incoming, 'upload')} from devices not complete: {room}"))


def _local(board: Board) -> Iterator[Line]:
    if board.stats.local is not None:
        yield _link("local", board.stats.local, board.now_ms)


def _outbox(board: Board) -> Iterator[Line]:
    yield from _local(board)
    stats, outbox = board.stats, board.stats.outbox
    pending = stats.account.triggers.pending
    share = outbox.used_bytes / outbox.max_bytes if outbox.max_bytes else 0.0
    oldest_s = (board.now_ms - board.oldest_ms) / 1000 if board.oldest_ms is not None else 0.0
    pieces = [
        Piece(f"{pending:,} pending, {outbox.used_bytes / _MIB:.1f} of {outbox.max_bytes / _MIB:.0f} MiB reserved"),
        Piece(f" ({share:.0%})"),
    ]
    if pending and board.oldest_ms is not None:
        pieces.append(Piece(f", oldest {_oldest(board)}", Shade.BAD if oldest_s > _STUCK_S else Shade.PLAIN))
    yield _row("outbox", *pieces)
    if outbox.hours_left is not None:
        shade = Shade.BAD if outbox.hours_left < _SHORT_H else Shade.PLAIN
        yield _row("", Piece(f"full in {_hours(outbox.hours_left)} at the rate of the last hour", shade))
    if outbox.failure or not outbox.accepting:
        why = on_one_line(outbox.failure, 400) or "it is full (outbox.max_bytes)"
        yield _row("", Piece(f"takes no events: {why}", Shade.BAD))
    for name, rate in stats.rates.items():
        if rate.waiting:
            yield _row("", Piece(_waits(name, rate, board.now_ms), Shade.WAITING))
    put_away = [
        *([f"{outbox.parked:,} parked: no answer after many tries"] if outbox.parked else []),
        *([f"{counted(outbox.dead.count, 'dead letter')}: edgeagent dead ls"] if outbox.dead.count else []),
    ]
    if put_away:
        yield _row("", Piece("; ".join(put_away), Shade.BAD if outbox.dead.full else Shade.WAITING))
    if outbox.lost:
        yield _row(
            "",
            Piece(f"{counted(len(outbox.lost), 'loss', 'losses')} since the start: edgeagent outbox verify", Shade.BAD),
        )


def _waits(name: str, rate: ShownRate, now_ms: int) -> str:
    waits = counted(rate.waiting, "trigger waits", "triggers wait")
    next_s, last_s = [(_unix_ms(at, now_ms) - now_ms) / 1000 for at in (rate.next_at, rate.last_at)]
    text = f"{waits} for the rate of rule {name} ({rate.count} in {span(rate.time_s)}): the next about {span(next_s)}"
    return f"{text}, the last about {span(last_s)}" if rate.waiting > 1 else text


def _unix_ms(at: str | None, otherwise_ms: int) -> int:
    try:
        return round(instant(at or "").timestamp() * 1000)
    except ValueError:
        return otherwise_ms


def _rates(board: Board) -> Iterator[Line]:
    if board.rates is not None:
        yield _row("rates", Piece(f"{_rates_text(board.rates)}, over the last {span(board.rates.over_s)}"))


def _rates_text(rates: Rates | None) -> str:
    return f"in {rates.events:,.1f}/s, out {rates.triggers:,.1f}/s" if rates is not None else "rates not known yet"


def _account(board: Board) -> Iterator[Line]:
    account = board.stats.account
    triggers = account.triggers
    ways = ", ".join(f"{count:,} {name}" for name, count in _ways(triggers))
    came = counted(triggers.accepted + triggers.imported, "trigger")
    if account.balanced:
        yield _row("account", Piece("balanced", Shade.GOOD), Piece(f"   {came} = {ways}"))
    else:
        yield _row("account", Piece("NOT BALANCED", Shade.BAD), Piece(f"   {came} ≠ {ways}: edgeagent outbox verify"))


def _ways(account: Account) -> Iterator[tuple[str, int]]:
    yield "settled", account.settled
    yield "pending", account.pending
    for name in ("dead", "discarded", "expired", "dropped", "merged", "exported", "damaged"):
        if count := getattr(account, name):
            yield name, count


def _rules(rules: Mapping[str, ShownRule], room: int) -> list[Line]:
    """The rules with the most traffic, under a heading; `room` lines with those around them."""
    if not rules:
        return []
    heading = f"{'RULE':{_NAME}} {'MATCHED':>9} {'SENT':>9} {'SETTLED':>9} {'DEAD':>6} {'EXPIRED':>8} {'HELD BACK':>10}"
    most = sorted(rules.items(), key=lambda named: (-named[1].matched - named[1].published, named[0]))
    places = max(room - 2, 1)
    if len(most) > places:
        most = most[: max(places - 1, 1)]
    lines: list[Line] = [[], [Piece(heading, Shade.FAINT)], *(_rule(name, rule) for name, rule in most)]
    if left := len(rules) - len(most):
        lines.append([Piece(f"and {counted(left, 'rule')} more", Shade.FAINT)])
    return lines


def _rule(name: str, rule: ShownRule) -> Line:
    held = rule.throttled + rule.disarmed + rule.merged
    return [
        Piece(f"{_rule_name(name):{_NAME}} {rule.matched:>9,} {rule.published:>9,} {rule.settled:>9,} "),
        Piece(f"{rule.dead:>6,}", Shade.BAD if rule.dead else Shade.PLAIN),
        Piece(f" {rule.expired:>8,}", Shade.BAD if rule.expired else Shade.PLAIN),
        Piece(f" {held:>10,}"),
    ]


def _rule_name(name: str) -> str:
    """The name, as much of it as there is room for: of a long one the length says less than the beginning."""
    safe = escaped(name)
    return safe if len(safe) <= _NAME else f"{safe[: _NAME - 1]}…"


def _troubles(stats: ShownStats) -> Iterator[Line]:
    log = stats.log
    if not log.last:
        return
    errors, warnings = counted(log.errors, "error"), counted(log.warnings, "warning")
    yield []
    yield [Piece(f"{errors} and {warnings} in the log; the last of each kind (UTC):", Shade.FAINT)]
    for noted in log.last:
        times = f" x{noted.count:,}" if noted.count > 1 else ""
        head = f"{_clock(noted.at)} {noted.event}{times}: "
        yield [
            Piece(head, Shade.BAD if noted.level == "error" else Shade.WAITING),
            Piece(noted.message),
        ]


def _row(label: str, *pieces: Piece) -> Line:
    return [Piece(f"{label:{_LABEL}}", Shade.FAINT), *pieces]


def _wrapped(lines: Iterable[Line], width: int, spare: int) -> list[Line]:
    """The lines, long ones on several, while there are `spare` more; the last one is cut if there are not."""
    wrapped: list[Line] = []
    for line in lines:
        safe = [Piece(escaped(piece.text), piece.shade) for piece in line]
        breaks = _breaks("".join(piece.text for piece in safe), width)
        whole = breaks[: spare + 1]
        for number, (start, end) in enumerate(whole):
            is_last = number == len(whole) - 1
            part = _part(safe, start, None if is_last else end)
            indent = [Piece(" " * _LABEL)] if number else []
            wrapped.append(_cut([*indent, *part], width) if is_last else [*indent, *part])
        spare -= max(len(whole) - 1, 0)
    return wrapped


def _breaks(text: str, width: int) -> list[tuple[int, int]]:
    """Where the parts of a text begin and end that fit one line each, all but the first behind a margin."""
    parts, start, room = list[tuple[int, int]](), 0, width
    while len(text) - start > room:
        blank = text.rfind(" ", start, start + room + 1)
        end = blank if blank > start + _LABEL else start + room  # a word longer than the line is broken
        parts.append((start, end))
        start, room = end + (text[end] == " "), width - _LABEL
    return [*parts, (start, len(text))]


def _part(line: Line, start: int, end: int | None) -> list[Piece]:
    """The pieces of a line between two columns."""
    pieces, at = list[Piece](), 0
    for piece in line:
        text = piece.text[max(start - at, 0) : None if end is None else max(end - at, 0)]
        if text:
            pieces.append(Piece(text, piece.shade))
        at += len(piece.text)
    return pieces


def _cut(line: Line, width: int) -> Line:
    """The line, cut at the edge of the screen."""
    pieces: list[Piece] = []
    left = width
    for piece in line:
        text = escaped(piece.text)
        if len(text) > left:
            pieces.append(Piece(text[: max(left - 1, 0)] + "…", piece.shade))
            break
        pieces.append(Piece(text, piece.shade))
        left -= len(text)
    return pieces


def _oldest(board: Board) -> str:
    return span((board.now_ms - board.oldest_ms) / 1000) if board.oldest_ms is not None else "-"


def _hours(hours: float) -> str:
    return span(hours * 3600)


def _since(at: str, now_ms: int) -> str:
    try:
        return span(now_ms / 1000 - instant(at).timestamp())
    except ValueError:
        return "?"


def _clock(at: str) -> str:
    """The time of day, in UTC, in an RFC 3339 text of our own."""
    return at.partition("T")[2][: len("11:00:00")] or at
