"""Large data of messages: to the spool, in order with what comes before and after; tried again when there is room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeagent.agent.spooled_events import SpooledEvents
from edgeagent.errors import RecordTooLarge, SpoolFull
from edgeagent.events.event import Draft
from edgeagent.outbox.records import NORMAL
from edgeagent.outbox.spooler import Spooler
from edgeagent.ports.device import RefusedEvent
from edgeagent.ports.event_topics import EventSubscription, EventTopics
from tests.fakes.large import LargeScene, large_scene, sha256

LARGE = b"\xff" * 20_000


def message(data: bytes, number: int) -> Draft:
    """A draft as a message becomes one."""
    draft = Draft("cam-1", data, is_json=False, topic="cams/cam-1", datacontenttype="image/png")
    draft.delivery = ("session", number)
    return draft


def port(scene: LargeScene) -> SpooledEvents:
    return SpooledEvents(scene.intake, scene.spooler)


async def test_small_and_large_messages_stay_in_order(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        drafts = [message(b"1", 1), message(LARGE, 2), message(b"3", 3), message(LARGE[1:], 4)]
        assert await port(scene).take(drafts) == {}
        assert all(draft.id and draft.time for draft in drafts)
        assert drafts[1].data == LARGE, "what is offered again must be what came"
        leased = await scene.outbox.lease(NORMAL)
        assert [one.record.id for one in leased] == [draft.id for draft in drafts]
        artifacts = [one.record.artifact for one in leased]
        assert [artifact.sha256 if artifact else "" for artifact in artifacts] == [
            *("", sha256(LARGE), "", sha256(LARGE[1:]))
        ]
        assert await scene.files_at_rest() == sorted([sha256(LARGE), sha256(LARGE[1:])])


async def test_a_message_that_is_delivered_again_is_the_same_event(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        events = port(scene)
        first, again = message(LARGE, 7), message(LARGE, 7)
        again.redelivered = True
        assert await events.take([first]) == {}
        assert await events.take([again]) == {}
        assert (again.id, again.repeated) == (first.id, True)
        assert len(await scene.outbox.lease(NORMAL)) == 1


async def test_while_there_is_no_room_it_and_all_behind_it_wait(tmp_path: Path) -> None:
    class Full(Spooler):
        is_full = True

        def begin(self, size, wake=lambda: None, key=""):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            """Refuse while it is told to."""
            if self.is_full:
                raise SpoolFull("it was told to be")
            return super().begin(size, wake, key)

    async with large_scene(tmp_path) as scene:
        assert scene.outbox.spool is not None
        full = Full(scene.outbox, scene.outbox.spool, inline_bytes=1000, max_bytes=1 << 20)
        events = SpooledEvents(scene.intake, full)
        drafts = [message(b"1", 1), message(LARGE, 2), message(b"3", 3)]
        refused = await events.take(drafts)
        assert {place: refusal.later for place, refusal in refused.items()} == {1: True, 2: True}
        full.is_full = False
        assert await events.take(drafts[1:]) == {}
        assert [one.record.data for one in await scene.outbox.lease(NORMAL)][::2] == [b"1", b"3"]
        full.close()


async def test_what_is_too_large_is_refused_for_good_and_the_others_are_taken(tmp_path: Path) -> None:
    async with large_scene(tmp_path, max_bytes=10_000) as scene:
        refused = await port(scene).take([message(b"1", 1), message(LARGE, 2), message(b"3", 3)])
        assert [(place, type(one.error), one.later) for place, one in refused.items()] == [(1, RecordTooLarge, False)]
        assert len(await scene.outbox.lease(NORMAL)) == 2
        assert await scene.files_at_rest() == []


async def test_what_is_not_stored_leaves_no_file(tmp_path: Path) -> None:
    class Refusing:
        async def take(self, drafts: Sequence[Draft]) -> Mapping[int, RefusedEvent]:
            """Refuse all."""
            return {place: RefusedEvent(SpoolFull("no")) for place in range(len(drafts))}

    async with large_scene(tmp_path) as scene:
        events = SpooledEvents(Refusing(), scene.spooler)  # type: ignore[arg-type]
        assert len(await events.take([message(LARGE, 1)])) == 1
        await scene.gone()


def test_a_large_payload_is_not_looked_into() -> None:
    subscription = EventSubscription(topic="cams/+", source="{1}", id="body.seq", data="json")
    route = EventTopics([subscription], inline_bytes=10).route("cams/cam-1")
    assert route is not None
    draft = route.draft("cams/cam-1", b'{"seq": 1 this is no JSON')
    assert (draft.id, draft.is_json, draft.datacontenttype) == ("", False, "application/json")
    assert route.draft("cams/cam-1", b'{"seq":1}').id == "1"
