"""A card that lost its last seconds, as an operator sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.outbox.frame import HEADER_BYTES
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent
from tests.fakes.tcp_proxy import TcpProxy

HOT = {"temp": 97.1, "filler": "x" * 1000}
SMALL = {"outbox": 'max_bytes = "4MiB"\nsegment_bytes = "64KiB"\nmax_event_bytes = "16KiB"'}


@pytest.mark.parametrize("how", ["removed", "emptied", "cut in half", "everything removed"])
async def test_an_agent_whose_newest_segment_is_lost_says_what_is_missing_and_goes_on(
    how: str, broker: Mosquitto, tmp_path: Path
) -> None:
    async with TcpProxy(broker.port) as uplink:
        agent = Agent(tmp_path / "agent", uplink.url, tables=SMALL)
        async with agent:
            await agent.logged("link_up")
            await uplink.cut()
            for number in range(100):
                await agent.triggered("boiler-1", {**HOT, "n": number})
            await agent.kill()
        segments = sorted((agent.directory / "state" / "outbox" / "normal").iterdir())
        assert len(segments) == 2
        newest = segments[-1]
        if how == "removed":
            newest.unlink()
        elif how == "emptied":
            newest.write_bytes(b"")
        elif how == "cut in half":
            used = len(newest.read_bytes().rstrip(b"\0"))
            newest.write_bytes(newest.read_bytes()[: HEADER_BYTES + used // 2])
        else:
            for segment in segments:
                segment.unlink()

        code, out, _ = await agent.command("outbox", "verify")
        assert (code, "nothing is wrong" in out) == (1, False)
        assert "how much that was, if anything, is unknown" in out
        code, out, _ = await agent.command("doctor")
        assert (code, "outbox: log normal: " in out) == (1, True)

        async with agent:
            stats = await agent.get("/v1/stats")
            exact, more = stats["outbox"]["lost"]
            damaged = stats["account"]["triggers"]["damaged"]
            assert stats["account"]["balanced"]
            assert (exact["count"], exact["last_seq"] - exact["first_seq"] + 1) == (damaged, damaged)
            assert damaged > 0
            assert (more["first_seq"], more["last_seq"], more["count"]) == (exact["last_seq"] + 1, None, 0)
            assert agent.log.count("ERROR    outbox.losses") == 2
            assert "acknowledged" not in agent.log
            code, out, _ = await agent.command("outbox", "verify")
            assert (code, f"seq {more['first_seq']} on" in out) == (1, True)
            await agent.triggered("boiler-1", {**HOT, "n": 100})
            code, out, _ = await agent.command("outbox", "ls", "--json", "--limit", "200")
            assert f'"seq":{more["first_seq"]},' in out, "the next seq is above all that is known"
