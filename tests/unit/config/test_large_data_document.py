"""docs/large-data.md: its configuration can be used, and `edgeagent check` has nothing against its workflows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeagent.__main__ import main
from tests.architecture.source import ROOT

SECTION = re.compile(r"^### (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```(toml|yaml)\n(.+?)^```", re.MULTILINE | re.DOTALL)
PAGE = (ROOT / "docs/large-data.md").read_text("utf-8").partition("\n## `edgeagent fetch`")[0]
BEFORE, *PARTS = SECTION.split(PAGE)
SECTIONS = dict(zip(PARTS[::2], PARTS[1::2], strict=True))
STORES = {
    "A bucket of S3": 'store = "s3://plant-data/frames"\naccess_key_file = "key"',
    "An HTTP server": 'store = "https://store.example/plant"',
    "A bucket of Google Cloud Storage": 'store = "gs://plant-data/frames"\naccess_key_file = "key"',
    "A volume": 'store = "file://{directory}"',
}


def blocks(text: str, kind: str) -> list[str]:
    return [content for found, content in BLOCK.findall(text) if found == kind]


STORE, LOCAL, FILTER, RULE = blocks(BEFORE, "toml")


def checked(directory: Path, config: str, workflow: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """What `edgeagent check` says, and its exit code."""
    for name in ("key", "store.password"):
        (directory / name).write_text("id\nsecret\n")
    (directory / "inspect.yaml").write_text(workflow)
    path = directory / "config.toml"
    path.write_text(f'[agent]\nid = "gw-1"\nstate_dir = "state"\n{config}')
    code = main(["check", "-c", str(path)])
    return code, "".join(capsys.readouterr())


def test_each_way_of_reading_has_its_workflow() -> None:
    assert SECTIONS.keys() == STORES.keys()


@pytest.mark.parametrize("title", STORES)
def test_its_workflow_passes_check(title: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (rule,) = blocks(SECTIONS[title], "toml") or [RULE]
    (workflow,) = blocks(SECTIONS[title], "yaml")
    store = "[artifacts]\n" + STORES[title].format(directory=tmp_path)
    code, said = checked(tmp_path, f"{store}\n{rule}", workflow, capsys)
    assert (code, "note: rule" in said) == (0, False), said


def test_an_argument_that_its_workflow_does_not_use_would_be_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workflow,) = blocks(SECTIONS["An HTTP server"], "yaml")
    code, said = checked(tmp_path, RULE.replace("{ url =", "{ uri ="), workflow, capsys)
    assert code == 78
    assert "rule[0].arguments.uri: is not a parameter of the workflow" in said


@pytest.mark.parametrize("more", ["", "the filter"])
def test_its_store_can_be_configured_and_the_rule_have_the_filter_for_large_data(
    more: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workflow,) = blocks(SECTIONS["An HTTP server"], "yaml")
    code, said = checked(tmp_path, f"{STORE}\n{LOCAL}\n{RULE}{FILTER if more else ''}", workflow, capsys)
    assert code == 0, said
