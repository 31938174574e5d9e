"""Which configuration an agent starts with while one is on trial, whatever is on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.agent.config_trial import FILE, MAX_STARTS, Trial, TrialFile, digest_of, failed, file_to_use, note_start
from edgeagent.errors import ConfigRefused


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "config.toml").write_bytes(b"new")
    (tmp_path / "config.toml.before").write_bytes(b"old")
    return tmp_path / "config.toml"


@pytest.fixture
def file(path: Path) -> TrialFile:
    file = TrialFile(path.parent / "state")
    file.write(Trial(digest_of(b"new"), f"{path}.before", 60.0))
    return file


def test_without_a_trial_it_is_the_configured_one(path: Path) -> None:
    note_start(path, path.parent / "state")
    assert file_to_use(path, TrialFile(path.parent / "state")) == (path, "")


def test_one_that_was_given_up_is_not_used_again_after_any_start(path: Path, file: TrialFile) -> None:
    assert file_to_use(path, file) == (path, "")
    trial = file.read()
    assert trial is not None
    file.write(failed(trial, "no broker"))
    for _ in range(5):
        note_start(path, path.parent / "state")
        assert file_to_use(path, file) == (Path(f"{path}.before"), "no broker")


def test_whoever_writes_another_one_ends_the_trial(path: Path, file: TrialFile) -> None:
    file.write(Trial(digest_of(b"new"), f"{path}.before", 60.0, failed="no broker"))
    path.write_bytes(b"newer")
    assert file_to_use(path, file) == (path, "")


def test_an_agent_that_never_comes_so_far_as_to_judge_is_started_a_few_times_only(path: Path, file: TrialFile) -> None:
    for _ in range(MAX_STARTS):
        note_start(path, path.parent / "state")
    with pytest.raises(ConfigRefused, match="started 3 times"):
        note_start(path, path.parent / "state")
    assert file_to_use(path, file)[0] == Path(f"{path}.before")


@pytest.mark.parametrize("damage", [b"", b"{", b"\x00" * 100, b'{"digest": 1}', b"[]", b'{"digest":"x","before":"y"}'])
def test_a_damaged_file_is_no_trial(path: Path, file: TrialFile, damage: bytes) -> None:
    (path.parent / "state" / FILE).write_bytes(damage)
    note_start(path, path.parent / "state")
    assert file_to_use(path, file) == (path, "")


def test_without_the_file_before_there_is_nothing_to_go_back_to(path: Path, file: TrialFile) -> None:
    file.write(Trial(digest_of(b"new"), f"{path}.gone", 60.0, failed="no broker"))
    assert file_to_use(path, file) == (path, "")
