from __future__ import annotations

import io
import stat
import sys
from pathlib import Path

import pytest

from edgeagent.__main__ import main
from edgeagent.listener.passwords import read_users


class Stdin(io.TextIOWrapper):
    """What a pipe or a terminal holds."""

    def __init__(self, data: bytes, *, is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        """As the test says."""
        return self.is_terminal


def set_by_stdin(monkeypatch: pytest.MonkeyPatch, path: Path, name: str, password: bytes) -> int:
    monkeypatch.setattr(sys, "stdin", Stdin(password))
    return main(["passwd", str(path), name, "--stdin"])


def test_a_password_from_stdin_makes_the_file_for_us_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "users"
    assert set_by_stdin(monkeypatch, path, "plug-7", b"open sesame\nmore\n") == 0
    out = capsys.readouterr().out
    assert f"plug-7 added to {path}\n" in out
    assert "give it to the user or the group of the agent's service" in out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    users, problems = read_users(path.read_text("utf-8"))
    assert problems == []
    assert users["plug-7"].matches(b"open sesame")
    assert b"sesame" not in path.read_bytes()


def test_a_change_keeps_comments_order_mode_and_link_and_closes_the_file_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, link = tmp_path / "users", tmp_path / "link"
    for name in ("a", "b"):
        set_by_stdin(monkeypatch, path, name, b"first\n")
    path.write_text("# devices\n" + path.read_text("utf-8"), "utf-8")
    path.chmod(0o664)
    link.symlink_to(path)
    assert set_by_stdin(monkeypatch, link, "a", b"second\n") == 0
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    text = path.read_text("utf-8")
    assert [line.partition(":")[0] for line in text.splitlines()] == ["# devices", "a", "b"]
    users, _ = read_users(text)
    assert users["a"].matches(b"second")
    assert users["b"].matches(b"first")
    assert [each.name for each in tmp_path.iterdir()] in (["users", "link"], ["link", "users"])


def test_a_user_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "users"
    for name in ("a", "b"):
        set_by_stdin(monkeypatch, path, name, b"word\n")
    assert main(["passwd", str(path), "a", "--delete"]) == 0
    assert list(read_users(path.read_text("utf-8"))[0]) == ["b"]
    capsys.readouterr()
    assert main(["passwd", str(path), "a", "--delete"]) == 1
    assert capsys.readouterr().err == f"edgeagent: passwd: a is not in {path}\n"


def test_a_terminal_is_asked_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["word", "word", "word", "wrod"])
    prompts: list[str] = []

    def getpass(prompt: str) -> str:
        prompts.append(prompt)
        return next(answers)

    monkeypatch.setattr("getpass.getpass", getpass)
    monkeypatch.setattr(sys, "stdin", Stdin(b"", is_terminal=True))
    path = tmp_path / "users"
    assert main(["passwd", str(path), "plug"]) == 0
    assert prompts == ["password of plug: ", "the same again: "]
    before = path.read_bytes()
    assert main(["passwd", str(path), "plug"]) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "stdin", "reason"),
    [
        (["plug"], b"", "give --stdin, since there is no terminal"),
        (["plug", "--stdin"], b"\n", "1 to 1024 bytes"),
        (["plug", "--stdin"], b"x" * 2000, "1 to 1024 bytes"),
        (["pl:ug", "--stdin"], b"x\n", "the name must be printable"),
        (["", "--stdin"], b"x\n", "the name must have 1 to 128"),
    ],
)
def test_what_cannot_be_set_is_one_line_and_no_file(
    arguments: list[str],
    stdin: bytes,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(stdin))
    path = tmp_path / "users"
    assert main(["passwd", str(path), *arguments]) == 1
    err = capsys.readouterr().err
    assert reason in err
    assert err.count("\n") == 1
    assert not path.exists()


def test_a_directory_that_cannot_be_written_to_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set_by_stdin(monkeypatch, tmp_path / "gone" / "users", "plug", b"x\n") == 1
    assert "cannot be written: No such file or directory" in capsys.readouterr().err
