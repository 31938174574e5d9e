"""Another `[mqtt]` for a running agent: who is here is judged anew, and nobody else notices."""

from __future__ import annotations

from pathlib import Path

from edgeagent.listener.passwords import SALT_BYTES, line_of, secret_of
from edgeagent.listener.reasons import Reason
from tests.fakes.mosquitto import free_port
from tests.fakes.mqtt_bytes import MQTT_5, MQTT_311, publish, subscribe, text
from tests.fakes.programs import Agent
from tests.fakes.raw_device import RawDevice

RULE = """
[[rule]]
name = "all"
namespace = "plant"
template = "inspect"
"""
NOWHERE = "mqtt://127.0.0.1:1"
PUBACK, SUBACK, PUBLISH, DISCONNECT = 0x40, 0x90, 0x30, 0xE0
WIDE = """
[[mqtt.allow]]
users = ["plug-*"]
publish = ["events/{user}", "cmnd/#"]
subscribe = ["cmnd/#", "edgeagent/status/#"]
"""
NARROW = """
[[mqtt.subscribe]]
topic = "cmnd/+"
[[mqtt.allow]]
users = ["plug-*"]
publish = ["cmnd/#"]
subscribe = ["edgeagent/status/#"]
"""


def user_file(path: Path, *names: str) -> Path:
    """A file with these users, each with its name as password."""
    lines = [line_of(name, secret_of(name.encode(), bytes(SALT_BYTES))) for name in names]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    path.chmod(0o600)
    return path


def known(port: int, name: str, version: int = MQTT_5) -> RawDevice:
    """The connection of a user, whose session outlives it."""
    props = b"\x11\x00\x00\x0e\x10" if version == MQTT_5 else b""
    return RawDevice(port, name, version, flags=0xC0, props=props, parts=(text(name), text(name)))


async def test_a_reload_refuses_what_may_not_be_any_more_ends_subscriptions_and_disconnects_users_that_are_gone(
    tmp_path: Path,
) -> None:
    port = free_port()
    users = user_file(tmp_path / "users", "plug-1", "plug-2", "plug-3")
    keys = f'listen = "127.0.0.1:{port}"\nusers_file = "{users}"\n'
    agent = Agent(tmp_path / "agent", NOWHERE, rules=RULE, tables={"mqtt": keys + WIDE})
    before = agent.config_file.read_text("utf-8")
    async with (
        agent,
        known(port, "plug-1") as stays,
        known(port, "plug-2") as goes,
        known(port, "plug-3", MQTT_311) as goes_silently,
    ):
        await stays.send(subscribe(MQTT_5, 1, ("cmnd/#", 1), ("edgeagent/status/#", 0)))
        assert (await stays.packet()).body[3:] == b"\x01\x00"
        await stays.send(publish(MQTT_5, "events/plug-1", qos=1, packet_id=2))
        assert (await stays.packet()).body[2:] == b""
        user_file(users, "plug-1")
        agent.config_file.write_text(before.replace(WIDE, NARROW), "utf-8")
        code, out, err = await agent.command("reload")
        assert (code, err) == (0, ""), out
        await agent.logged("mqtt_revoked")
        ended = await goes.packet()
        assert (ended.first, ended.body[0]) == (DISCONNECT, Reason.NOT_AUTHORIZED)
        assert await goes.rest() == b""
        assert await goes_silently.rest() == b""
        await stays.send(publish(MQTT_5, "events/plug-1", qos=1, packet_id=3))
        assert (await stays.packet()).body[2] == Reason.NOT_AUTHORIZED
        await stays.send(publish(MQTT_5, "cmnd/one", qos=1, packet_id=4))  # an event by now, and nobody gets it
        answer = await stays.packet()
        assert (answer.first, answer.body) == (PUBACK, b"\x00\x04")
        await stays.send(subscribe(MQTT_5, 5, ("cmnd/#", 1)))
        assert (await stays.packet()).body[3:] == bytes([Reason.NOT_AUTHORIZED])
        stats = await agent.account(stored=2)
        assert (stats["mqtt"]["subscriptions"], stats["mqtt"]["connections"]) == (1, 1)
        assert "reload_needs_restart" not in agent.log
        agent.config_file.write_text(before.replace(str(users), str(tmp_path / "missing")), "utf-8")
        code, _, err = await agent.command("reload")
        assert code != 0
        assert "missing" in err
        await stays.send(publish(MQTT_5, "cmnd/two", qos=1, packet_id=6))
        assert (await stays.packet()).body == b"\x00\x06"
        await agent.account(stored=3)
