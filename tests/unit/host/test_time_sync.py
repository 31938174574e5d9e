"""`host.time_sync`: what systemd-timesyncd says of the clock."""

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


def test_where_it_does_not_run_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_sync, "TIMESYNC", tmp_path / "nowhere")
    assert is_synchronized() is None
