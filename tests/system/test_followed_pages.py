"""Pages that a newcomer follows from the first line to the last: what they say is done, and comes out as they show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.source import ROOT
from tests.fakes.documents import Reader

PAGES = [
    "docs/air-gapped.md",
    "docs/from-argo-events.md",
    "docs/from-mosquitto-bridge.md",
    "docs/from-node-red.md",
    "docs/single-board-computer.md",
]


@pytest.mark.parametrize("page", PAGES)
async def test_who_follows_the_page_gets_what_it_shows(page: str, tmp_path: Path) -> None:
    async with Reader(tmp_path) as reader:
        await reader.follow((ROOT / page).read_text("utf-8"))


async def test_who_has_only_the_readme_has_an_event_answered(tmp_path: Path) -> None:
    async with Reader(tmp_path) as reader:
        reader.write("dispatch.example.toml", (ROOT / "dispatch.example.toml").read_text("utf-8"))
        reader.write("broker.conf", "listener 1883 127.0.0.1\nallow_anonymous true\n")
        await reader.follow("```console\n$ mosquitto -c broker.conf &\n```\n")  # the machine's own
        await reader.follow((ROOT / "README.md").read_text("utf-8"))
