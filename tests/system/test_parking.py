from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fakes.engine import Engine, success
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent

HOT = {"temp": 97.1}
IMPATIENT = {
    "uplink": 'response_timeout = "400ms"\nmax_unanswered = 2',
    "outbox": "park_after = 2",
}


async def test_triggers_that_nobody_answers_are_parked_and_never_hold_the_rest(
    broker: Mosquitto, tmp_path: Path
) -> None:
    def deaf_to_stuck(trigger: dict[str, Any]) -> dict[str, Any] | None:
        source = trigger["workflow"]["metadata"]["annotations"]["edgeagent.io/source"]
        return None if source == "boiler-stuck" else success(trigger)

    async with (
        Engine(broker.url, answer=deaf_to_stuck) as engine,
        Agent(tmp_path / "agent", broker.url, tables=IMPATIENT) as agent,
    ):
        stuck = [await agent.triggered("boiler-stuck", {**HOT, "n": n}) for n in range(3)]
        good = await agent.triggered("boiler-good", HOT)
        await agent.state(good, "triggered")  # behind three that fill the window of two
        await agent.logged("trigger_parked", 2)
        stats = await agent.account(accepted=4, settled=1, pending=3)
        assert stats["outbox"]["parked"] >= 2
        assert (await agent.get(f"/v1/triggers/{stuck[0]}"))["state"] == "published"
        engine.answer = success
        late = {**success(engine.triggers[0]), "correlation_id": stuck[0]}
        await engine.publish("argo/workflows/response/gw-1", json.dumps(late).encode())
        await agent.state(stuck[0], "triggered")


async def test_parked_triggers_survive_a_crash_and_go_when_the_engine_is_back(
    broker: Mosquitto, tmp_path: Path
) -> None:
    def silent(_: dict[str, Any]) -> None:
        return None

    async with Engine(broker.url, answer=silent) as engine:
        agent = Agent(tmp_path / "agent", broker.url, tables=IMPATIENT)
        await agent.start()
        promised = {await agent.triggered("boiler-1", {**HOT, "n": n}) for n in range(3)}
        await agent.logged("trigger_parked", 3)
        await agent.account(accepted=3, pending=3)
        await agent.kill()
        engine.answer = success
        # A parked one has one try, and the next try may be as late as the test's deadline: so each has time for it.
        agent = Agent(tmp_path / "agent", broker.url)
        await agent.start()
        stats = await agent.account(accepted=3, settled=3, pending=0)
        assert stats["outbox"]["parked"] == 0
        assert set(engine.started) == {f"overheat-{correlation}" for correlation in promised}
        assert await agent.stop() == 0


async def test_drop_oldest_makes_room_and_tells_exactly_what_is_lost(tmp_path: Path, free_port: int) -> None:
    tables = {
        "outbox": 'when_full = "drop_oldest"\nmax_bytes = "512KiB"\nsegment_bytes = "64KiB"\nmax_event_bytes = "16KiB"'
    }
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}", tables=tables) as agent:
        sent = 120
        for number in range(sent):
            await agent.send("boiler-1", {**HOT, "n": number, "filler": "x" * 8000})
        stats = await agent.account(accepted=sent)
        account = stats["account"]["triggers"]
        assert account["dropped"] > 0
        assert account["pending"] == sent - account["dropped"]
        assert stats["account"]["balanced"]
        assert stats["outbox"]["used_bytes"] <= stats["outbox"]["max_bytes"]
        lost = stats["outbox"]["lost"]
        assert sum(loss["count"] for loss in lost) == account["dropped"]
        assert lost[0]["first_seq"] == 1
        assert "lost" in agent.log
        await agent.get("/readyz")


async def test_a_trigger_that_nobody_ever_subscribed_for_is_still_known_when_it_is_parked(
    broker: Mosquitto, tmp_path: Path
) -> None:
    tables = {**IMPATIENT, "outbox": "park_after = 1"}
    async with Agent(tmp_path / "agent", broker.url, tables=tables) as agent:
        name = await agent.triggered("boiler-1", HOT)
        await agent.logged("trigger_parked")
        assert (await agent.get(f"/v1/triggers/{name}"))["state"] == "buffered"
        listed = await agent.get("/v1/triggers?state=buffered")
        assert [report["correlation_id"] for report in listed["triggers"]] == [name]
