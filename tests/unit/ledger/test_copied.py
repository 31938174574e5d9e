from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edgeagent.ledger.copied import copied_ledger


def test_a_stopped_agents_ledger_that_cannot_be_read_is_named_where_it_is_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with copied_ledger(tmp_path) as ledger:
        assert ledger.use(lambda: ledger.get("a")) is None
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{path} cannot be read, and what it holds is not shown: of version 99, of another edgeagent, "
        "where this one reads 9"
    )
    assert ([*tmp_path.iterdir()], path.read_bytes()) == ([path], before)
