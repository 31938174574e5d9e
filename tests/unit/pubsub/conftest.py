"""A server of Pub/Sub's API for each test, and links that do not wait long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgeagent.pubsub import publishing, pulling
from tests.fakes.pubsub import FakePubSub


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePubSub]:
    with FakePubSub() as found:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", found.host)
        found.topic("triggers")
        found.subscription("edgeagent-gw-1", "answers", agent="gw-1")
        yield found


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "RETRY_BASE_S", 0.01)
    monkeypatch.setattr(pulling, "LATER_S", 0.01)
    monkeypatch.setattr(pulling, "IDLE_POLL_S", 0.05)
