"""How a command finds its agent, for a user who may not ask it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.cli import find_agent
from edgeagent.cli.client import AgentForbidden
from edgeagent.config.tables import AgentConfig
from tests.fakes.as_user import another_user, give, take


def test_a_user_who_may_not_ask_the_service_is_told_what_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = place / "run/agent.sock"
    kept.parent.mkdir()
    kept.touch()
    give(place)
    take(kept.parent)
    monkeypatch.setattr(find_agent, "_UNIT_SOCKET", kept)
    monkeypatch.setenv("HOME", str(place))
    with another_user():
        config = AgentConfig()
        assert find_agent.socket_path(config) == kept
        with (
            find_agent.agent_client(config) as client,
            pytest.raises(AgentForbidden, match=f"{kept}: permission denied: .*use sudo, or join the group") as refused,
        ):
            client.request("GET", "/healthz")
        assert refused.value.exit_code == 69
