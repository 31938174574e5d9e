from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from edgeagent.dispatcher.configmaps import ConfigMaps, Patience
from edgeagent.dispatcher.namespace import Namespace, WatchTimes
from edgeagent.errors import EngineUnavailable
from edgeagent.ports.link import TAKEN, PublishOutcome
from edgeagent.wire.messages import Status
from tests.fakes.configmaps import CORRELATION_ID, URL, Api, applying, configmap_name, ended
from tests.fakes.statuses_bench import Counted
from tests.waiting import until

pytestmark = pytest.mark.virtual_time


class Told:
    """Takes what a namespace puts and sends, and keeps the cursors."""

    def __init__(self) -> None:
        self.statuses: list[Status] = []
        self.cursors: list[str] = []
        self.settled = 0

    def send(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        on_taken: Callable[[PublishOutcome], None] | None = None,
        wanted: Callable[[], bool] | None = None,
    ) -> None:
        """See `Send`; the broker answers at once."""
        assert (topic, retain) == ("cursor", True)
        assert on_taken is not None
        assert wanted is None, "a cursor is always right to publish"
        self.cursors.append(msgspec.json.decode(payload)["finished"])
        on_taken(TAKEN)

    def settle(self) -> None:
        """Something is done."""
        self.settled += 1


def leading(told: Told, configmaps: ConfigMaps | None) -> Namespace:
    """A namespace that has seen everything and whose statuses are told."""
    namespace = Namespace(
        "plant",
        put=told.statuses.append,
        send=told.send,
        cursor_topic="cursor",
        active=Counted(),
        pace=WatchTimes(hold_s=0.0),
        now=lambda: 1000.0,
        wall=lambda: 1_800_000_000.0,
        settled=told.settle,
        configmaps=configmaps,
    )
    lead(namespace)
    return namespace


def lead(namespace: Namespace) -> None:
    namespace.lead(None)
    namespace.listed(everything=True)


async def test_the_cursor_passes_a_workflow_when_its_status_is_published_and_its_configmap_applied() -> None:
    api, told = Api(), Told()
    api.gate.clear()
    configmaps = ConfigMaps(api, "plant")
    namespace = leading(told, configmaps)
    async with applying(configmaps):
        namespace.seen(ended())
        [status] = told.statuses
        namespace.taken(status)
        namespace.taken(status)  # a gateway has asked for it
        namespace.keep_cursor()
        assert told.cursors == []
        api.gate.set()
        await until(lambda: told.settled == 1)
        namespace.keep_cursor()
    assert told.cursors == ["2026-03-20T12:00:00.000Z"]


async def test_the_cursor_waits_for_the_status_too() -> None:
    api, told = Api(), Told()
    configmaps = ConfigMaps(api, "plant")
    namespace = leading(told, configmaps)
    async with applying(configmaps):
        namespace.seen(ended())
        await until(lambda: told.settled == 1)
        namespace.keep_cursor()
        assert told.cursors == []
        namespace.taken(told.statuses[0])
        namespace.keep_cursor()
    assert told.cursors == ["2026-03-20T12:00:00.000Z"]


async def test_a_leader_that_leads_again_applies_again_what_was_not_applied() -> None:
    api, told = Api(), Told()
    api.failures[configmap_name(CORRELATION_ID)] = [EngineUnavailable(URL, "away")]
    configmaps = ConfigMaps(api, "plant", Patience(base_s=1e6, cap_s=1e6))
    namespace = leading(told, configmaps)
    async with applying(configmaps):
        namespace.seen(ended())
        await until(lambda: len(api.asked) == 1)
        namespace.follow()
        await until(lambda: not configmaps.pending)
        namespace.seen(ended())
        assert configmaps.pending == 0  # somebody else leads
        lead(namespace)
        namespace.seen(ended())
        await until(lambda: len(api.applied) == 1)
        await until(lambda: told.settled == 1)
        namespace.keep_cursor()
        assert told.cursors == []
        namespace.taken(told.statuses[-1])
        namespace.keep_cursor()
    assert told.cursors == ["2026-03-20T12:00:00.000Z"]


async def test_nothing_waits_for_configmaps_that_nobody_wants() -> None:
    told = Told()
    namespace = leading(told, None)
    namespace.seen(ended())
    namespace.taken(told.statuses[0])
    namespace.keep_cursor()
    assert told.cursors == ["2026-03-20T12:00:00.000Z"]
