"""A file of the other kind is told in one line, not as one unknown key after another."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.config import load_agent, load_dispatcher
from edgeagent.errors import ConfigError, Problem

ROOT = Path(__file__).parents[3]


def refused(path: Path, *, dispatcher: bool) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        (load_dispatcher if dispatcher else load_agent)(path, {})
    return list(caught.value.problems)


def test_a_dispatchers_file_given_for_an_agents_is_named_in_one_line() -> None:
    [problem] = refused(ROOT / "dispatch.example.toml", dispatcher=False)
    assert "this is a dispatcher's configuration: add --dispatch" in problem.reason


def test_an_agents_file_given_for_a_dispatchers_is_named_in_one_line() -> None:
    [problem] = refused(ROOT / "config.example.toml", dispatcher=True)
    assert "this is an agent's configuration: leave --dispatch out" in problem.reason


@pytest.mark.parametrize("text", ['[log]\nlevel = "loud"\n', "[uplnk]\n", "[uplink]\nqos = 9\n[broker]\n"])
def test_a_file_that_is_not_clearly_the_other_kind_s_has_its_own_problems_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert all(problem.path for problem in refused(path, dispatcher=False))
