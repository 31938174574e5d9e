"""A file is sent over connections that break and agents that start again, and no byte of it twice."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from edgeagent.__main__ import main
from edgeagent.cli import send_file as sending
from edgeagent.cli.client import AgentRefused
from edgeagent.errors import AgentUnreachable, CommandFailed

DATA = bytes(range(256)) * 10


class Agent:
    """Takes `most` bytes of each request, then does what comes next: raises it, or answers."""

    def __init__(self, *after: Exception | None, most: int = 1000) -> None:
        self.data = b""
        self.asked = 0
        self.after = list(after)
        self.most = most

    def request(
        self, method: str, path: str, body: BinaryIO | None, headers: Mapping[str, str], _timeout_s: float
    ) -> tuple[int, Any]:
        """See `AgentClient`."""
        assert (method, path.partition("?id=")[0]) == ("PUT", "/v1/events/cam-1")
        if body is None:
            self.asked += 1
        else:
            assert headers["Content-Range"] == f"bytes {len(self.data)}-{len(DATA) - 1}/{len(DATA)}"
            self.data += body.read(self.most)
        error = self.after.pop(0) if self.after else None
        if error is not None:
            raise error
        if len(self.data) == len(DATA):
            return 202, {"accepted": [{"id": "1"}]}
        return 308, {"received": len(self.data)}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr("edgeagent.cli.send_file.time.sleep", made.append)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "frame.jpg"
    path.write_bytes(DATA)
    return path


def send(agent: Agent, file: Path) -> dict[str, Any]:
    return sending.send_file(agent, "cam-1", file, None, 100)  # type: ignore[arg-type]


GONE = AgentUnreachable("127.0.0.1:8060", "it hung up")


def test_it_goes_on_where_the_agent_is_when_that_has_started_again(file: Path, pauses: list[float]) -> None:
    agent = Agent(None, GONE, GONE, AgentRefused(503, "the agent is stopping"), None)
    assert send(agent, file) == {"id": "1"}
    assert agent.data == DATA
    assert pauses == [1.0, 2.0, 4.0]


def test_an_agent_that_is_not_there_or_refuses_is_told_at_once(file: Path, pauses: list[float]) -> None:
    for error in (GONE, AgentRefused(507, "no room")):
        with pytest.raises(type(error)):
            send(Agent(error), file)
    with pytest.raises(AgentRefused, match="no room"):
        send(Agent(None, AgentRefused(507, "no room")), file)
    assert pauses == []


def test_a_file_that_becomes_shorter_while_it_is_sent_is_a_failure(file: Path, pauses: list[float]) -> None:
    with pytest.raises(CommandFailed, match="was the file changed"):
        send(Agent(most=0), file)
    assert pauses == []


def test_what_is_no_file_is_neither_sent_nor_waited_for(file: Path) -> None:
    os.mkfifo(file.with_name("fifo"))
    for path in (file.with_name("fifo"), Path("/dev/zero")):
        with pytest.raises(CommandFailed, match="is no ordinary file"):
            send(Agent(), path)
    with pytest.raises(CommandFailed, match="Is a directory"):
        send(Agent(), file.parent)


@pytest.mark.parametrize(
    "arguments", [("cam-\udcff", "1"), ("cam-\n", "1"), ("cam-1", "--file", "x", "--type", "image/\u202e")]
)
def test_what_no_request_can_say_is_told_in_one_line(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["emit", *arguments]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "must be printable" in said


def test_a_content_type_that_no_header_can_have_is_told(file: Path) -> None:
    with pytest.raises(CommandFailed, match="--type: must be ASCII"):
        sending.send_file(Agent(), "cam-1", file, "image/\u00e9", 100)  # type: ignore[arg-type]
