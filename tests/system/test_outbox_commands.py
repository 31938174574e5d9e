from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeagent.outbox.records import NORMAL
from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.outbox import running_outbox
from tests.fakes.programs import RULE, Agent
from tests.fakes.stores import closing, group, record
from tests.fakes.tcp_proxy import TcpProxy

HOT = {"temp": 97.1}


async def _send(agent: Agent, count: int, source: str = "boiler-1") -> set[str]:
    return {await agent.triggered(source, {**HOT, "n": n}) for n in range(count)}


def _gateway(directory: Path, uplink: str, name: str, rules: str = RULE) -> Agent:
    agent = Agent(directory, uplink, rules=rules)
    agent.config_file.write_text(agent.config_file.read_text("utf-8").replace('"gw-1"', f'"{name}"'), "utf-8")
    return agent


async def _command(agent: Agent, *arguments: str) -> str:
    code, out, err = await agent.command(*arguments)
    assert (code, err) == (0, ""), (code, out, err)
    return out


def _unreachable(port: int) -> str:
    return f"mqtt://127.0.0.1:{port}"


def _files(directory: Path) -> dict[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(directory.rglob("*")) if path.is_file()
    }


async def _total(agent: Agent) -> dict[str, Any]:
    stats = await agent.get("/v1/stats")
    triggers: dict[str, Any] = stats["account"]["triggers"]
    return triggers


async def test_what_a_cut_off_gateway_exports_starts_once_from_another(
    broker: Mosquitto, tmp_path: Path, free_port: int
) -> None:
    file = tmp_path / "export"
    async with Engine(broker.url) as engine:
        first = _gateway(tmp_path / "a", _unreachable(free_port), "gw-1")
        second = _gateway(tmp_path / "b", broker.url, "gw-2")
        await first.start()
        promised = await _send(first, 25)
        out = await _command(first, "outbox", "export", str(file))
        assert "25 triggers moved" in out
        await first.account(accepted=25, pending=0, exported=25)
        await first.kill()  # what the command said is kept
        await first.start()
        await first.account(accepted=25, pending=0, exported=25)
        await second.start()
        assert "25 triggers imported" in await _command(second, "outbox", "import", str(file))
        await second.account(accepted=0, imported=25, settled=25)
        assert set(engine.started) == {f"overheat-{correlation}" for correlation in promised}
        # The trigger keeps its identity; the answer goes to who sent it.
        assert {trigger["agent"] for trigger in engine.triggers} == {"gw-1"}
        assert {trigger["reply_to"] for trigger in engine.triggers} == {"argo/workflows/response/gw-2"}
        assert {trigger["attempt"] for trigger in engine.triggers} == {0}
        assert "25 came before from the same file" in await _command(second, "outbox", "import", str(file))
        await second.kill()
        assert "25 came before" in await _command(second, "outbox", "import", str(file))
        await second.start()
        await second.account(imported=25, settled=25, pending=0)
        assert len(engine.started) == 25
        assert await first.stop() == 0
        assert await second.stop() == 0


async def test_an_export_behind_a_cut_uplink_leaves_out_what_is_in_flight(broker: Mosquitto, tmp_path: Path) -> None:
    file = tmp_path / "export"
    silent = Engine(broker.url, answer=lambda _: None)
    async with TcpProxy(broker.port) as proxy, silent as engine:
        agent = _gateway(tmp_path / "a", proxy.url, "gw-1")
        await agent.start()
        flying = await _send(agent, 3)
        await engine.received(3)
        await proxy.cut()
        await agent.logged("link_down")
        waiting = await _send(agent, 7, "boiler-2")
        out = json.loads(await _command(agent, "outbox", "export", str(file), "--json"))
        assert out["exported"] == out["in_file"] == 7
        exported = [json.loads(line) for line in file.read_text("utf-8").splitlines()[1:-1]]
        assert {each["source"] for each in exported} == {"boiler-2"}
        await agent.account(accepted=10, pending=3, exported=7)
        listed = [json.loads(line) for line in (await _command(agent, "outbox", "ls", "--json")).splitlines()]
        assert {each["correlation_id"] for each in listed} == flying
        assert all(each["in_flight"] for each in listed)
        code, _, err = await agent.command("outbox", "export", str(file))
        assert code == 1
        assert "exists" in err
        # Taken back by the gateway that exported them: they are its own again.
        assert await agent.stop() == 0
        assert "7 triggers imported" in await _command(agent, "outbox", "import", str(file))
        shown = json.loads(await _command(agent, "outbox", "show", min(waiting)[:10], "--json"))
        assert (shown["source"], shown["agent"]) == ("boiler-2", "gw-1")
        assert json.loads(shown["data"])["temp"] == 97.1
        assert "10 triggers wait" in await _command(agent, "outbox", "ls")


async def test_a_stopped_gateway_exports_everything_and_balances(tmp_path: Path, free_port: int) -> None:
    file = tmp_path / "export"
    agent = _gateway(tmp_path / "a", _unreachable(free_port), "gw-1")
    await agent.start()
    await _send(agent, 12)
    assert await agent.stop() == 0
    assert "12 triggers moved" in await _command(agent, "outbox", "export", str(file))
    assert "nothing waits" in await _command(agent, "outbox", "export", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    verified = json.loads(await _command(agent, "outbox", "verify", "--json"))
    assert verified["account"]["exported"] == verified["account"]["accepted"] == 12


async def test_an_altered_export_is_refused_before_anything_is_stored(tmp_path: Path, free_port: int) -> None:
    file = tmp_path / "export"
    agent = _gateway(tmp_path / "a", _unreachable(free_port), "gw-1")
    await agent.start()
    await _send(agent, 5)
    await _command(agent, "outbox", "export", str(file))
    whole = file.read_text("utf-8")
    lines = whole.splitlines(keepends=True)
    for content, reason in (
        ("".join(lines[:-1]), "line 7: the end is missing"),
        (whole[:-10], "line 7: the line is cut off"),
        (whole.replace("97.1", "17.1", 1), "line 7: the digest does not match"),
        (whole.replace('"boiler-1"', '"boiler#1"', 1), "line 2: "),
        ("hello\n", "line 1: the file is not an export"),
    ):
        file.write_text(content, "utf-8")
        code, out, err = await agent.command("outbox", "import", str(file))
        assert (code, out) == (1, "")
        assert reason in err
        assert "nothing of it is imported" in err
    assert (await _total(agent))["imported"] == 0
    assert await agent.stop() == 0


async def test_a_trigger_whose_rule_the_importing_gateway_lacks_is_a_dead_letter(
    broker: Mosquitto, tmp_path: Path, free_port: int
) -> None:
    file = tmp_path / "export"
    first = _gateway(tmp_path / "a", _unreachable(free_port), "gw-1")
    await first.start()
    await _send(first, 1)
    await _command(first, "outbox", "export", str(file))
    assert await first.stop() == 0
    other = RULE.replace('"overheat"', '"other"')
    async with Engine(broker.url), _gateway(tmp_path / "b", broker.url, "gw-2", rules=other) as second:
        await _command(second, "outbox", "import", str(file))
        await second.account(imported=1, dead=1, pending=0)
        assert "rule removed" in await _command(second, "dead", "ls")


async def test_verify_names_the_damaged_seq_and_writes_nothing(tmp_path: Path, free_port: int) -> None:
    agent = _gateway(tmp_path / "a", _unreachable(free_port), "gw-1")
    await agent.start()
    await _send(agent, 20)
    assert "nothing is wrong" in await _command(agent, "outbox", "verify")
    assert await agent.stop() == 0
    state = tmp_path / "a" / "state"
    assert "nothing is wrong" in await _command(agent, "outbox", "verify")
    [segment] = (state / "outbox" / "normal").iterdir()
    data = bytearray(segment.read_bytes())
    data[data.index(b'"n": 6}')] ^= 1  # the seventh
    segment.write_bytes(data)
    before = _files(state)
    for command in (("outbox", "ls"), ("dead", "ls"), ("outbox", "show", "0")):
        await agent.command(*command)
    code, out, err = await agent.command("outbox", "verify")
    assert (code, err) == (1, "")
    assert "DAMAGED log normal, seq 7 to 7" in out
    assert str(segment) in out
    assert "19 good records" in out
    code, out, _ = await agent.command("outbox", "verify", "--json")
    verified = json.loads(out)
    assert code == 1
    assert not verified["sound"]
    assert [(each["first_seq"], each["last_seq"]) for each in verified["damaged"]] == [(7, 7)]
    assert _files(state) == before
    await agent.start()  # and the agent starts, and says the same
    code, out, _ = await agent.command("outbox", "verify")
    assert code == 1
    assert "DAMAGED log normal, seq 7 to 7" in out
    await agent.account(accepted=20, pending=19, damaged=1)
    assert await agent.stop() == 0


def _refuse(_: dict[str, Any]) -> dict[str, Any]:
    return {"code": 400, "error": "no"}


async def test_dead_letters_are_discarded_for_good_and_that_is_logged(broker: Mosquitto, tmp_path: Path) -> None:
    async with Engine(broker.url, answer=_refuse) as engine:
        agent = _gateway(tmp_path / "a", broker.url, "gw-1")
        await agent.start()
        dead = sorted(await _send(agent, 4))
        await agent.account(dead=4)
        code, _, err = await agent.command("dead", "discard", dead[0])
        assert code == 1
        assert "--yes" in err
        assert "1 discarded" in await _command(agent, "dead", "discard", dead[0], "--yes")
        await agent.account(dead=3, discarded=1)
        await agent.logged("dead_discarded")
        assert dead[0] in agent.log
        await agent.kill()  # kept before it was said
        assert "1 discarded" in await _command(agent, "dead", "discard", dead[1][:12], "--yes")
        await agent.start()
        await agent.account(accepted=4, dead=2, discarded=2)
        out = json.loads(await _command(agent, "dead", "discard", "--all", "--yes", "--json"))
        assert sorted(out["discarded"]) == dead[2:]
        await agent.account(dead=0, discarded=4, pending=0)
        assert len(engine.triggers) == 4
        assert await agent.stop() == 0


async def test_a_window_is_listed_and_shown_with_the_ids_of_its_events(tmp_path: Path, free_port: int) -> None:
    gateway = _gateway(tmp_path, _unreachable(free_port), "gw-1")
    async with running_outbox(tmp_path / "state") as outbox:
        await outbox.append(group(NORMAL, *(record(f"e{number}", data=b"%d" % number) for number in range(4))))
        leased = await outbox.lease(NORMAL)
        await outbox.gather([closing(leased[1:])])
    assert "2 triggers wait (high: 0, normal: 1, windows: 1, limited: 0, parked: 0)" in await _command(
        gateway, "outbox", "ls"
    )
    shown = await _command(gateway, "outbox", "show", "e1")
    assert "log             windows\n" in shown
    assert "events          e1, e2, e3\n" in shown
    assert "data            [1,2,3]\n" in shown
    assert "in flight       no\n" in shown
    assert "is json         yes\n" in shown
    assert "1 trigger waits (windows: 1); 1 listed" in await _command(gateway, "outbox", "ls", "--log", "windows")
    assert json.loads(await _command(gateway, "outbox", "show", "e1", "--json"))["events"] == ["e1", "e2", "e3"]
    assert "account: accepted 4, pending 2, merged 2" in await _command(gateway, "outbox", "verify")
