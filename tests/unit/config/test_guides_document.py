"""The pages for newcomers: their configurations are whole and good, and what they have typed as root is written well.

That the commands do what the pages show is held by tests/system/test_followed_pages.py.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeagent.__main__ import main, parser
from tests.architecture.source import ROOT
from tests.fakes.documents import blocks_of
from tests.system.test_followed_pages import PAGES

BLOCKS = {page: blocks_of((ROOT / page).read_text("utf-8")) for page in ["README.md", *PAGES]}
FILES = [(page, block.name) for page, blocks in BLOCKS.items() for block in blocks if block.name.endswith(".toml")]
TYPED_AS_ROOT = [(page, block.text) for page, blocks in BLOCKS.items() for block in blocks if block.kind == "sh"]
# Files that a configuration names, which whoever copies it has.
NAMED = ("plant-ca.pem", "uplink.password", "mqtt.users", "gateway.pem", "gateway.key")


def text_of(page: str, name: str) -> str:
    return next(block.text for block in BLOCKS[page] if block.name == name)


@pytest.mark.parametrize(("page", "name"), FILES)
def test_a_configuration_is_whole_and_check_has_no_word_against_it(
    page: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for each in NAMED:
        (tmp_path / each).write_text("secret\n", "utf-8")
    path = tmp_path / name
    path.write_text(text_of(page, name), "utf-8")
    arguments = ["check", "-c", str(path), *(["--dispatch"] if name == "dispatch.toml" else [])]
    assert main(arguments) == 0
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(("page", "text"), TYPED_AS_ROOT)
def test_what_is_typed_as_root_is_a_shells_and_names_commands_and_files_that_there_are(page: str, text: str) -> None:
    del page
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    for line in text.replace(" && ", "\n").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["edgeagent"]:
            parser().parse_args(words[1:])
        for file in re.findall(r"(?<!/)\b(?:packages|requirements|systemd)/\S+", line):
            assert (ROOT / file).exists(), file


def typed(text: str) -> Iterator[list[str]]:
    """The words of each call of edgeagent in a block: behind its prompts, if it has any."""
    lines = text.replace("\\\n", " ").splitlines()
    prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    for call in (call for line in prompted or lines for call in line.split(" && ")):
        if re.match(r"(?:sudo )?edgeagent ", call):
            words = shlex.split(re.split(r" (?:[|&]|[<>] )", call)[0], comments=True)
            yield words[words.index("edgeagent") + 1 :]


def test_every_command_in_every_document_is_one_that_edgeagent_understands(capsys: pytest.CaptureFixture[str]) -> None:
    understands = parser()
    calls = 0
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in blocks_of(page.read_text("utf-8")):
            for words in typed(block.text) if block.kind in {"", "console", "sh"} else ():
                calls += 1
                try:
                    understands.parse_args(words)
                except SystemExit:
                    pytest.fail(f"{page.name}: edgeagent {' '.join(words)}: {capsys.readouterr().err}")
    assert calls > 50, "they are found"


def test_the_rule_says_what_the_sensor_says() -> None:
    page = "docs/from-argo-events.md"
    sensor = next(yaml.safe_load(block.text) for block in BLOCKS[page] if block.kind == "yaml")["spec"]
    rule: dict[str, Any] = tomllib.loads(text_of(page, "config.toml"))["rule"][0]
    trigger = sensor["triggers"][0]["template"]["argoWorkflow"]
    workflow = trigger["source"]["resource"]
    assert rule["filters"] == sensor["dependencies"][0]["filters"]
    assert rule["parameters"] == trigger["parameters"]
    assert rule["namespace"] == workflow["metadata"]["namespace"]
    assert rule["template"] == workflow["spec"]["workflowTemplateRef"]["name"]
    arguments = workflow["spec"]["arguments"]["parameters"]
    assert rule["arguments"] == {each["name"]: {"value": each["value"]} for each in arguments}
