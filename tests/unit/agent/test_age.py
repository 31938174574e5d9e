"""`age_s` and `late` of parameters: how old an event was when its trigger was sent."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from edgeagent.ports.link import Publication
from edgeagent.rules.spec import RuleSpec
from tests.fakes.link import FakeLink
from tests.fakes.sender_scene import scene
from tests.unit.agent.test_sender import GATHERED, UNHEARD

pytestmark = pytest.mark.virtual_time


async def test_a_workflow_is_told_how_old_its_event_was_at_each_publication_and_whether_that_is_late(
    tmp_path: Path,
) -> None:
    asked = RuleSpec("all", "plant", template="t", arguments={"waited": "age_s", "late": "late"})
    async with scene(tmp_path, asked) as made:
        await made.accept(1)
        made.clock.ms += 59_900
        await made.accept(2)
        made.up()
        await made.published(2)
        assert sorted(waited(one) for one in made.link.published) == [("0", "false"), ("59", "false")]
        made.clock.ms += 100
        made.refuse(UNHEARD)
        await made.account(settled=2, pending=0)
        assert sorted(waited(one) for one in made.told) == [("0", "false"), ("60", "true")], "sent again, it is older"


async def test_a_window_is_late_a_minute_after_its_time(tmp_path: Path) -> None:
    asked = msgspec.structs.replace(GATHERED, arguments={"waited": "age_s", "late": "late"})
    async with scene(tmp_path, asked) as made:
        await made.accept(1)
        made.clock.ms += 69_000
        made.up()
        await made.published(1)
        await made.accept(2)
        made.take()
        made.sender.down()
        made.link = FakeLink()
        made.clock.ms += 70_000
        made.up()
        await made.published(1)
        made.take()
        assert [waited(one) for one in made.told] == [("69", "false"), ("70", "true")]


def waited(publication: Publication) -> tuple[str, ...]:
    """The arguments of a trigger."""
    arguments = json.loads(publication.payload)["workflow"]["spec"]["arguments"]["parameters"]
    return tuple(argument["value"] for argument in arguments)
