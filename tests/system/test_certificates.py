from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fakes.certificates import Certificates
from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def keys(certificates: Certificates) -> str:
    """Those of `[uplink]`."""
    return "\n".join(f'{key} = "{file}"' for key, file in certificates.client.items())


async def test_the_days_left_of_the_client_certificate_are_shown_and_told_in_time(
    tmp_path: Path, certificates: Certificates
) -> None:
    certificates.issue("client", "gw-1", ends=datetime.now(UTC) + timedelta(days=12, hours=1))
    tables = {"uplink": keys(certificates)}
    async with (
        Mosquitto(tmp_path, listener=certificates.listener(), scheme="mqtts") as broker,
        Agent(tmp_path / "agent", broker.url, tables=tables) as agent,
    ):
        await agent.logged("link_up")
        stats = await agent.get("/v1/stats")
        assert stats["uplink"]["certificate_days_left"] == 12
        assert stats["uplink"]["connected"]
        assert agent.log.count("event=certificate_ends") == 1
        assert "ends in 12 days" in agent.log


async def test_an_uplink_without_a_client_certificate_has_no_days_left(broker: Mosquitto, tmp_path: Path) -> None:
    async with Engine(broker.url), Agent(tmp_path / "agent", broker.url) as agent:
        assert (await agent.get("/v1/stats"))["uplink"]["certificate_days_left"] is None
