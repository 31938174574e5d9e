"""`host.time_sync`: what systemd-timesyncd and the kernel say of the clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.host import time_sync
from edgeagent.host.time_sync import is_synchronized


def test_systemd_timesyncd_is_believed_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_sync, "TIMESYNC", tmp_path)
    assert is_synchronized() is False
    (tmp_path / "synchronized").touch()
    assert is_synchronized() is True


@pytest.mark.parametrize(("answer", "says"), [(0, True), (1, True), (4, True), (5, False), (-1, None)])
def test_elsewhere_the_kernel_is_asked(
    answer: int, says: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_sync, "TIMESYNC", tmp_path / "nowhere")
    monkeypatch.setattr(time_sync, "_adjtimex", lambda: lambda: answer)
    assert is_synchronized() is says


def test_asking_the_real_kernel_changes_nothing_and_gives_an_answer_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_sync, "TIMESYNC", tmp_path / "nowhere")
    assert is_synchronized() in {True, False, None}
