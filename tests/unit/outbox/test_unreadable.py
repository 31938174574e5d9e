from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edgeagent.agent.checkup import files_finding
from edgeagent.common.finding import Level
from edgeagent.outbox.files import OsFilesystem
from edgeagent.outbox.overlay import Overlay
from edgeagent.outbox.unreadable import ASIDE, is_aside, newest_is_aside, put_unreadable_aside


def test_the_agents_name_comes_back_when_it_can_be_read_again(tmp_path: Path) -> None:
    """A link stands for a file that cannot be opened: it is none of ours, for root too."""
    (tmp_path / "agent-id").symlink_to("elsewhere")
    put_unreadable_aside(tmp_path)
    assert not os.path.lexists(tmp_path / "agent-id")
    (tmp_path / "agent-id").write_text("host-name\n")  # what is used meanwhile
    put_unreadable_aside(tmp_path)
    assert (tmp_path / "agent-id").read_text() == "host-name\n"
    aside = tmp_path / ASIDE / "agent-id"
    aside.unlink()
    aside.write_text("gw-1\n")
    put_unreadable_aside(tmp_path)
    assert (tmp_path / "agent-id").read_text() == "gw-1\n"
    assert not aside.exists()


def test_what_is_put_aside_twice_is_there_twice_and_told_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        for name in ("ledger.db", "ledger.db-wal"):
            (tmp_path / name).symlink_to("elsewhere")
        put_unreadable_aside(tmp_path)
    names = {path.name for path in (tmp_path / ASIDE).iterdir()}
    assert names == {"ledger.db", "ledger.db.2", "ledger.db-wal", "ledger.db-wal.2"}
    assert stat.S_IMODE((tmp_path / ASIDE).stat().st_mode) == 0o750
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 6  # of the first two, the second start too
    assert "ledger.db cannot be opened" in caplog.text


def test_what_is_missing_of_a_log_is_not_lost_while_a_file_of_it_lies_aside_nor_up_to_where_it_ended_then(
    tmp_path: Path,
) -> None:
    outbox, filesystem = tmp_path / "outbox", OsFilesystem()
    aside = tmp_path / ASIDE / "outbox" / "normal"
    aside.mkdir(parents=True)
    assert not is_aside(filesystem, outbox, "normal", 1)
    (aside / "00000000000000000001.seg").touch()
    assert is_aside(filesystem, outbox, "normal", 1_000_000)
    assert not is_aside(filesystem, outbox, "high", 1)
    (aside / "00000000000000000001.seg").rename(aside / "below-100")
    assert is_aside(filesystem, outbox, "normal", 99)
    assert not is_aside(filesystem, outbox, "normal", 100)


def test_the_doctor_looks_at_the_mode_of_every_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    (tmp_path / "outbox").mkdir(0o750)
    cursor = tmp_path / "outbox" / "cursor"
    cursor.touch(0o640)
    assert (files_finding(tmp_path).level, files_finding(tmp_path).found[:5]) == (Level.OK, "all 2")
    cursor.chmod(0o644)
    assert (files_finding(tmp_path).level, str(cursor) in files_finding(tmp_path).found) == (Level.WARN, True)
    cursor.chmod(0o040)
    found = files_finding(tmp_path)
    assert (found.level, str(cursor) in found.found) == (Level.FAIL, True)
    assert f"chmod -R u+rwX {tmp_path}" in found.remedy


def test_the_end_of_a_log_lies_aside_with_its_newest_segment_or_a_directory_that_nobody_can_look_into(
    tmp_path: Path,
) -> None:
    outbox, filesystem = tmp_path / "outbox", OsFilesystem()
    aside = tmp_path / ASIDE / "outbox" / "normal"
    aside.mkdir(parents=True)
    (aside / "00000000000000000002.seg").touch()
    (aside / "below-100").touch()
    assert newest_is_aside(filesystem, outbox, "normal", 2)
    assert not newest_is_aside(filesystem, outbox, "normal", 3), "an older one says nothing of the end"
    (aside / "00000000000000000003.seg.2").touch()
    assert newest_is_aside(filesystem, outbox, "normal", 3)
    assert not newest_is_aside(filesystem, outbox, "high", 1)
    overlay = Overlay()
    overlay.hide(outbox / "high", tmp_path / "outbox" / f"high.{ASIDE}" / "high")
    assert newest_is_aside(overlay, outbox, "high", 1)
    assert overlay.list(outbox / "high") == []
