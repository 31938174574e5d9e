from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.__main__ import main

RULE = '[[rule]]\nname = "frame"\nnamespace = "n"\ntemplate = "t"\narguments = { url = "body.url" }\n'
FILTER = 'filters.data = [{ path = "body.size", type = "number", comparator = ">", value = ["0"] }]\n'


def said(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> list[str]:
    file = tmp_path / "config.toml"
    file.write_text(text, "utf-8")
    assert main(["check", "-c", str(file)]) == 0
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_check_says_where_large_data_goes_how_much_is_taken_and_when(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = """[artifacts]
store = "https://store.example/plant"
public_url = "https://files.example"
bandwidth = "2Mbit/s"
bandwidth_at = [{ from = "06:00", to = "22:00", rate = "500kbit/s" }, { from = "22:00", to = "23:00", rate = "0bit/s" }]
"""
    assert [line for line in said(tmp_path, capsys, store + RULE) if line.startswith("store")] == [
        "store     data over 64 KiB, up to 240 MiB (outbox.max_bytes bounds it), goes to https://store.example/plant",
        "store     workflows find it below https://files.example",
        "store     bandwidth: 500kbit/s from 06:00 to 22:00 UTC, no uploads from 22:00 to 23:00 UTC, 2Mbit/s else",
    ]
    roomy = store.partition("public_url")[0] + 'max_bytes = "1MiB"\ninline_max = "100KiB"\n'
    assert [line for line in said(tmp_path, capsys, roomy + RULE) if line.startswith("store")] == [
        "store     data over 100 KiB, up to 1 MiB, goes to https://store.example/plant"
    ]
    assert not any("store" in line or "inline_max" in line for line in said(tmp_path, capsys, RULE))


def test_check_notes_rules_of_which_small_data_makes_dead_letters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = '[artifacts]\nstore = "file:///mnt/shared"\n'
    (note,) = (line for line in said(tmp_path, capsys, store + RULE) if "inline_max" in line)
    assert note.startswith("note: artifacts.inline_max: data up to 64 KiB stays in its event and has no body.url")
    assert "a dead letter of frame;" in note
    for rule in (RULE + FILTER, RULE + "enabled = false\n", RULE.replace("body.url", "body.temp")):
        assert not any("inline_max" in line for line in said(tmp_path, capsys, store + rule))
