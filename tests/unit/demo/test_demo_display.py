from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from edgeagent.demo import chart, series
from edgeagent.demo.device import DeviceStats
from edgeagent.demo.plain import Plain
from edgeagent.demo.scene import News, Sample, Scene, summary
from edgeagent.demo.screen import picture
from edgeagent.demo.series import Reading
from edgeagent.demo.show import choose_display
from edgeagent.demo.tally import DemoTally
from edgeagent.ports.account import Account, EventCounts
from edgeagent.wire.messages import Report, State

FINE = Sample(102.0, is_loss=False, waiting=0, uplink_works=True, agent_runs=True)
BAD = Sample(24.0, is_loss=True, waiting=9, uplink_works=False, agent_runs=False)


def scene_in_the_cut() -> Scene:
    """In the second loss: three promises wait, the line is cut, the agent killed."""
    readings = series.load()
    tally = DemoTally()
    scene = Scene(readings, 22.0, tally)
    for index, reading in enumerate(readings[:218]):
        tally.accepted([f"c{index}"] if reading.is_loss and index > 214 else [])
        if index % 10 == 0:
            scene.sample()
    scene.current = readings[217]
    scene.line_works = scene.agent_runs = False
    scene.sample()
    account = Account(
        accepted=3,
        imported=0,
        settled=0,
        pending=3,
        dead=0,
        discarded=0,
        expired=0,
        dropped=0,
        merged=0,
        exported=0,
        damaged=0,
    )
    events = EventCounts(received=218, stored=3, filtered=215)
    scene.stats = DeviceStats(DeviceStats.Accounts(events, account, balanced=True), DeviceStats.Uplink(connected=False))
    scene.news = [News(float(index), f"thing {index}") for index in range(30)]
    report = Report("c1", readings[217].time, "s", "leak", State.BUFFERED, at="")
    scene.reports = [report] * 20
    return scene


def drawn(scene: Scene, width: int, height: int) -> list[str]:
    """The picture on a terminal of this size without colour."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(picture(scene, width, height), end="")
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (81, 25), (120, 40), (200, 60)])
def test_the_picture_fills_the_terminal_exactly(width: int, height: int) -> None:
    lines = drawn(scene_in_the_cut(), width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width


def test_at_80x24_everything_that_counts_can_be_read_without_colour() -> None:
    text = "\n".join(drawn(scene_in_the_cut(), 80, 24))
    for part in ("24.26 l/s  LOSS (below 80)", "uplink CUT", "agent KILLED", "waiting     3", "thing 29", "buffered"):
        assert part in text
    assert "218 events = 215 filtered + 3 stored" in text
    assert "3 triggers = 0 settled + 3 pending: balanced" in text
    assert "…" not in text


def test_the_picture_can_be_drawn_before_anything_is_known() -> None:
    scene = Scene(series.load(), 22.0, DemoTally())
    assert "uplink STARTING" in "\n".join(drawn(scene, 80, 24))


def test_columns_keep_a_moment_of_loss_and_of_outage_that_is_narrower_than_they_are() -> None:
    seen = chart.columns([FINE] * 40 + [BAD] + [FINE] * 59, 100, 10)
    assert [column.is_loss for column in seen] == [False] * 4 + [True] + [False] * 5
    assert (seen[4].flow_l_s, seen[4].waiting, seen[4].uplink_works, seen[4].agent_runs) == (24.0, 9, False, False)


@pytest.mark.parametrize(("count", "expected"), [(0, 100), (1, 100), (50, 100), (100, 100), (370, 100), (7, 5)])
def test_columns_never_exceed_the_width_and_have_no_holes(count: int, expected: int) -> None:
    seen = chart.columns([FINE] * count, expected, 71)
    assert len(seen) <= 71
    assert seen.count(FINE) == len(seen)


def test_a_bar_is_as_high_as_its_value_and_a_missing_one_is_blank() -> None:
    assert chart.bars([0.0, 4.0, 8.0, 12.0, 16.0, None], 16.0, 2) == ["   ▄█ ", "▁▄███ "]


def test_between_two_readings_the_last_one_holds_and_a_killed_agent_has_none() -> None:
    readings = [Reading("2022-03-29T09:00:00+02:00", 24.0), Reading("2022-03-29T10:00:00+02:00", 25.0)]
    scene = Scene(readings, 1.0, DemoTally())
    scene.tally.accepted([])
    scene.sample()
    scene.sample()
    scene.agent_runs = False
    scene.sample()
    assert [sample.flow_l_s for sample in scene.samples] == [24.0, 24.0, None]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It says so."""
        return True


def test_a_pipe_gets_plain_lines_and_so_does_a_terminal_that_asks_for_them() -> None:
    assert isinstance(choose_display(io.StringIO(), plain=False), Plain)
    assert isinstance(choose_display(Terminal(), plain=True), Plain)


def test_a_terminal_without_rich_gets_plain_lines_and_a_word_about_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edgeagent.demo.screen", None)
    monkeypatch.delattr("edgeagent.demo.screen")
    terminal = Terminal()
    assert isinstance(choose_display(terminal, plain=False), Plain)
    assert "pip install 'edgeagent[demo]'" in terminal.getvalue()


def test_a_terminal_that_cannot_show_the_picture_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "24")
    assert isinstance(choose_display(Terminal(), plain=False), Plain)
    monkeypatch.setenv("COLUMNS", "80")
    assert not isinstance(choose_display(Terminal(), plain=False), Plain)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose_display(Terminal(), plain=False), Plain)


def test_plain_lines_tell_each_thing_once_and_the_progress_now_and_then() -> None:
    stream = io.StringIO()
    plain, scene = Plain(stream), scene_in_the_cut()
    plain.tell(scene, News(7.25, "UPLINK CUT"))
    for tenth in range(120):
        scene.elapsed_s = tenth / 10
        plain.refresh(scene)
    first, *rest = stream.getvalue().splitlines()
    assert first == "[  7.2 s] UPLINK CUT"
    assert [line[:9] for line in rest] == ["[  5.0 s]", "[ 10.0 s]"]
    assert "218 of 1,268 readings acknowledged, 3 workflows promised, 3 waiting on disk, 0 succeeded" in rest[0]


def test_the_summary_names_every_problem_and_never_says_that_all_is_well_then() -> None:
    scene = scene_in_the_cut()
    text = "\n".join(summary(scene, ["3 of 3 workflows that were promised have not succeeded"]))
    assert "FAILED: 3 of 3" in text
    assert "Nothing was lost" not in text
    assert "lost                      3" in text
    assert max(map(len, summary(scene, []))) <= 80
