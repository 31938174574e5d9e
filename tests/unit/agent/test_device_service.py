"""What devices and the page are told, while triggers go from one place to another."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.agent.device_service import DeviceService
from edgeagent.ports.device import TriggerQuery
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import State
from tests.fakes.ledgers import life

pytestmark = pytest.mark.virtual_time


class Moving:
    """An outbox with one trigger and a ledger, as the service asks them. It moves after the first question."""

    def __init__(self) -> None:
        self.waits: Life | None = life("c-1", State.BUFFERED)
        self.kept: list[Life] = []

    def _move(self) -> None:
        if self.waits is not None:
            self.waits, self.kept = None, [life("c-1", State.REJECTED)]

    async def find(self, _query: TriggerQuery) -> list[Life]:
        """What the ledger has."""
        found = list(self.kept)
        self._move()
        return found

    async def known(self, names: list[str]) -> set[str]:
        """The same by name."""
        return {each.report.correlation_id for each in self.kept}.intersection(names)

    async def search(self, *_: object) -> list[Life]:
        """What the outbox has."""
        found = [self.waits] if self.waits is not None else []
        self._move()
        return found


async def test_a_trigger_that_is_given_up_while_triggers_are_listed_is_in_the_list_once() -> None:
    moving: Any = Moving()
    unused: Any = None
    service = DeviceService(
        unused, unused, moving, unused, moving, ends_published=False, figures=unused, canary=lambda: None
    )
    listed = await service.triggers(TriggerQuery())
    assert [each.report.state for each in listed] == [State.REJECTED]
