"""A fault report shows where artifacts go, and nothing that lets anybody in."""

from __future__ import annotations

from pathlib import Path

from edgeagent.config import load_agent
from edgeagent.config.redacted import known_secrets, redacted

RULE = '[[rule]]\nname = "r"\nnamespace = "plant"\ntemplate = "t"\n'


def test_the_endpoints_path_and_the_keys_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken-of-the-endpoint\n", "utf-8")
    file = tmp_path / "config.toml"
    file.write_text(
        '[artifacts]\nstore = "https://files.example/gw"\npresign_url = "https://sign.example/hook/s3cret?k=s3cret"\n'
        f'token_file = "token"\n{RULE}',
        "utf-8",
    )
    config = load_agent(file, {})
    shown = redacted(config)["artifacts"]
    assert shown["presign_url"] == "https://sign.example/…"
    assert shown["store"] == "https://files.example/gw"
    assert "s3cret" not in str(shown)
    assert "t0ken" not in str(shown)
    assert "t0ken-of-the-endpoint" in known_secrets(config)


def test_both_lines_of_an_access_key_are_known_as_secrets(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the-id\nthe-secret\n", "utf-8")
    file = tmp_path / "config.toml"
    file.write_text(f'[artifacts]\nstore = "s3://bucket"\naccess_key_file = "key"\n{RULE}', "utf-8")
    config = load_agent(file, {})
    assert known_secrets(config) >= {"the-id", "the-secret"}
    assert redacted(config)["artifacts"]["access_key_file"].endswith("/key")
