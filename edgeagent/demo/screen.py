"""The demo as a picture on a terminal, drawn with `rich`; every state can be read without colour."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from edgeagent.demo import chart
from edgeagent.demo.scene import SAMPLE_S, News, Scene, account_lines
from edgeagent.demo.series import LOSS_BELOW_L_S
from edgeagent.wire.messages import Report

MIN_WIDTH, MIN_HEIGHT = 80, 24

_TOP_L_S = 112.0
_LABEL = 9
# The lines other than the plot, the news and the reports.
_FIXED_ROWS = 13
_MIN_PLOT_ROWS, _MAX_PLOT_ROWS = 4, 9
# The start, the outage and the end take time beyond that of the readings.
_EXTRA_S = 4.0
_WORKS, _BROKEN = "━", "\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}"
_LOW, _AT_LEAST_HALF = "▒", "▄▅▆▇█"
_GOOD, _BAD, _DIM, _HEAD = "green", "bold red", "dim", "bold"
_SHADES = {
    "STARTING": _DIM,
    "CONNECTED": _GOOD,
    "RECONNECTING": "yellow",
    "CUT": _BAD,
    "RUNNING": _GOOD,
    "KILLED": _BAD,
}


class Screen:
    """A `Display` on a terminal's alternate screen; the last picture stays on the terminal after the end."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    @property
    def usable(self) -> bool:
        """Whether this terminal can show the picture."""
        width, height = self._console.size
        unicode = self._console.encoding.startswith("utf")
        return unicode and not self._console.is_dumb_terminal and width >= MIN_WIDTH and height >= MIN_HEIGHT

    def tell(self, scene: Scene, news: News) -> None:  # noqa: ARG002  it stands in the scene
        """See `Display`."""
        self.refresh(scene)

    def refresh(self, scene: Scene) -> None:
        """See `Display`."""
        if not self._live.is_started:
            self._live.start()
        width, height = self._console.size
        self._live.update(picture(scene, width, height), refresh=True)

    def close(self, scene: Scene) -> None:
        """See `Display`."""
        if self._live.is_started:
            self._live.stop()
        if scene.samples:
            self._console.print(*_chart(scene, self._console.width, _MIN_PLOT_ROWS), sep="\n")


def picture(scene: Scene, width: int, height: int) -> Group:
    """The whole screen: exactly `height` lines if that is at least `MIN_HEIGHT`."""
    spare = max(height, MIN_HEIGHT) - _FIXED_ROWS
    plot_rows = min(_MAX_PLOT_ROWS, max(_MIN_PLOT_ROWS, spare // 3))
    report_rows = (spare - plot_rows) // 3
    news_rows = spare - plot_rows - report_rows
    lines = [
        _ends(Text("edgeagent demo", _HEAD), Text(f"{scene.elapsed_s:.0f} s    Ctrl-C ends it", _DIM), width),
        *_chart(scene, width, plot_rows),
        Text(),
        *_stations(scene, width),
        *_account(scene),
        _heading("What happened", width),
        *_padded([_news(news) for news in scene.news[-news_rows:]], news_rows),
        _heading("What the sensor is told", width),
        *_padded([_report(report) for report in scene.reports[:report_rows]], report_rows),
    ]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


def _chart(scene: Scene, width: int, rows: int) -> list[Text]:
    """The readings over the demo's time, and below them the waiting triggers and the state of uplink and agent."""
    expected = int((scene.planned_s + _EXTRA_S) / SAMPLE_S)
    seen = chart.columns(scene.samples, expected, width - _LABEL)
    flows = chart.bars([sample.flow_l_s for sample in seen], _TOP_L_S, rows)
    labels = ["l/s", *[""] * (rows - 2), f"{_LOW} < {LOSS_BELOW_L_S:g}"]
    lines = [_now(scene, width)]
    for label, row in zip(labels, flows, strict=True):
        line = Text(f"{label:<{_LABEL}}", _DIM)
        for sample, cell in zip(seen, row, strict=True):
            low = sample.is_loss and cell in _AT_LEAST_HALF
            line.append(_LOW if low else cell, "red" if sample.is_loss else "cyan")
        lines.append(line)
    most = max([8, *(sample.waiting for sample in seen)])
    waiting = chart.bars([sample.waiting or None for sample in seen], most, 1)[0]
    lines.append(Text.assemble((f"{'waiting':<{_LABEL}}", _DIM), (waiting, "yellow"), (_number(scene), "yellow")))
    lines.append(_track("uplink", [sample.uplink_works for sample in seen]))
    lines.append(_track("agent", [sample.agent_runs for sample in seen]))
    return lines


def _number(scene: Scene) -> str:
    return f" {scene.tally.waiting}" if scene.tally.waiting else ""


def _track(label: str, works: list[bool]) -> Text:
    line = Text(f"{label:<{_LABEL}}", _DIM)
    for sign in chart.marks(works, _WORKS, _BROKEN):
        line.append(sign, _GOOD if sign == _WORKS else _BAD)
    return line


def _now(scene: Scene, width: int) -> Text:
    """The present reading on the left, uplink and agent on the right."""
    left = Text("a flow sensor on a water main")
    if scene.current is not None:
        left = Text(f"{scene.current.hour}  {scene.current.flow_l_s:6.2f} l/s")
        if scene.current.is_loss:
            left.append(f"  LOSS (below {LOSS_BELOW_L_S:g})", _BAD)
    right = Text.assemble(
        "uplink ", (scene.uplink, _SHADES[scene.uplink]), "   agent ", (scene.agent, _SHADES[scene.agent])
    )
    return _ends(left, right, width)


def _stations(scene: Scene, width: int) -> list[Text]:
    """The path of an event, station by station, with the counts of each."""
    tally = scene.tally
    stations: list[tuple[str, list[tuple[str, int]]]] = [
        ("sensor", [("readings", tally.events), ("of", len(scene.readings))]),
        ("agent's disk", [("promised", len(tally.promised)), ("waiting", tally.waiting)]),
        ("broker", [("triggers", tally.sent), ("again", tally.sent_again)]),
        ("dispatcher", [("started", tally.started), ("known", tally.known_before)]),
        ("workflows", [("on their way", tally.on_their_way), ("succeeded", len(tally.succeeded))]),
    ]
    lines = [Text(), Text(), Text()]
    step = width // len(stations)
    for index, (name, counters) in enumerate(stations):
        cell, gap = (width - step * index, "") if index == len(stations) - 1 else (step - 3, " → ")
        lines[0].append(f"{name:<{cell}}", _HEAD).append(gap, _DIM)
        for line, (label, count) in zip(lines[1:], counters, strict=True):
            number = f"{count:,}"
            line.append(f"{label:<{cell - len(number)}}", _DIM).append(number).append(" " * len(gap))
    return lines


def _account(scene: Scene) -> list[Text]:
    """The agent's own account; while it is not running, its last one."""
    if scene.stats is None:
        return [Text("account", _DIM), Text()]
    account = scene.stats.account
    events, triggers = account_lines(account.events, account.triggers)
    verdict = ("balanced", _GOOD) if account.balanced else ("NOT BALANCED", _BAD)
    return [
        Text.assemble((f"{'account':<{_LABEL}}", _DIM), events),
        Text.assemble(" " * _LABEL, triggers, ": ", verdict),
    ]


def _news(news: News) -> Text:
    return Text.assemble((f"{news.at_s:5.1f} s  ", _DIM), news.text)


def _report(report: Report) -> Text:
    state = (f"{report.state:<10}", _GOOD if report.state == "succeeded" else "")
    return Text.assemble(
        (f"{report.event_id[:16].replace('T', ' ')}  ", _DIM),
        state,
        f"{report.progress:>5}  ",
        (report.workflow_id, _DIM),
    )


def _heading(text: str, width: int) -> Text:
    return Text.assemble((f"{text} ", _HEAD), ("─" * (width - len(text) - 1), _DIM))


def _ends(left: Text, right: Text, width: int) -> Text:
    return Text.assemble(left, " " * max(1, width - left.cell_len - right.cell_len), right)


def _padded(lines: list[Text], rows: int) -> list[Text]:
    return lines + [Text()] * (rows - len(lines))
