"""Commands about the outbox while a process owns it that does not answer."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from edgeagent.cli.access import with_outbox
from edgeagent.errors import OutboxLocked
from edgeagent.outbox.lock import state_lock


@pytest.mark.parametrize("read_only", [True, False])
def test_an_agent_that_only_starts_need_not_be_stopped(tmp_path: Path, read_only: bool) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[agent]\nid = "gw"\nstate_dir = "{tmp_path}"\n[http]\nsocket = "{tmp_path}/agent.sock"\n')
    (tmp_path / "outbox").mkdir()
    args = argparse.Namespace(config=str(config))
    with state_lock(tmp_path), pytest.raises(OutboxLocked) as caught:
        with_outbox(args, lambda _args, _outbox: 0, read_only=read_only)
    assert caught.value.exit_code == 75
    said = str(caught.value)
    assert "is in use by process" in said
    assert f"no agent answers on {tmp_path}/agent.sock: if it has just been started, try again" in said
