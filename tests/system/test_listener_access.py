"""Who gets in at the listener of a whole agent: TLS, certificates that are exchanged, users, and what doctor says."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
import sys
from pathlib import Path

import aiomqtt
import pytest

from edgeagent.listener import server
from tests.fakes.agent_here import AgentHere
from tests.fakes.certificates import Certificates
from tests.fakes.faulty_filesystem import NEW_SPACE
from tests.fakes.mosquitto import Mosquitto, free_port
from tests.fakes.paho_device import PahoDevice
from tests.fakes.programs import Agent
from tests.waiting import DEADLINE_S

NOWHERE = "mqtt://127.0.0.1:1"
RULE = """
[[rule]]
name = "all"
namespace = "plant"
template = "inspect"
"""


async def mosquitto_pub(port: int, *words: str) -> tuple[int, str]:
    """Publish one event at QoS 1: exit code and what it complains of."""
    process = await asyncio.create_subprocess_exec(
        *("mosquitto_pub", "-p", str(port), "-t", "events/boiler-1", "-m", "{}", "-q", "1", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (out + err).decode()


def tls(certificates: Certificates, port: int, more: str = "") -> dict[str, str]:
    """The tables of an agent that listens by TLS."""
    files = {"ca_file": "ca.pem", "cert_file": "server.pem", "key_file": "server.key"}
    keys = "\n".join(f'{key} = "{certificates.file(name)}"' for key, name in files.items())
    return {"mqtt": f'listen = "tls://127.0.0.1:{port}"\n{keys}\n{more}'}


async def test_the_cn_of_a_certificate_is_the_user(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificates.issue("client", "gw", common_name="boiler-1")
    allow = '[[mqtt.allow]]\nusers = ["boiler-*"]\npublish = ["events/{user}"]\n'
    port = free_port()
    authority = ("--cafile", str(certificates.file("ca.pem")))
    own = (*authority, "--cert", str(certificates.file("client.pem")), "--key", str(certificates.file("client.key")))
    async with Agent(tmp_path / "agent", NOWHERE, rules=RULE, tables=tls(certificates, port, allow)) as agent:
        assert await mosquitto_pub(port, "-V", "5", *own) == (0, "")
        await agent.account(stored=1)
        code, _ = await mosquitto_pub(port, "-V", "5", *authority)  # nobody, who may nothing
        assert code == 0
        await agent.logged("mqtt_denied")
        await agent.account(stored=1)


async def test_devices_that_do_not_come_to_tls_are_counted_and_told_with_what_to_do(tmp_path: Path) -> None:
    certificates, other = Certificates(tmp_path), tmp_path / "other"
    other.mkdir()
    port = free_port()
    wrong = str(Certificates(other).file("ca.pem"))
    async with Agent(tmp_path / "agent", NOWHERE, rules=RULE, tables=tls(certificates, port)) as agent:
        code, _ = await mosquitto_pub(port, "--cafile", wrong)
        assert code != 0
        await agent.logged("mqtt_tls_failed")
        code, _ = await mosquitto_pub(port)
        assert code != 0
        by_reason = {"tls_certificate_not_trusted": 1, "tls_not_spoken": 1}
        stats = await agent.stats(lambda stats: stats["mqtt"]["connects_refused"] == len(by_reason), "both refused")
        assert stats["mqtt"]["connects_refused_by"] == by_reason
    assert "give the device the CA that signed mqtt.cert_file" in agent.log


async def test_a_certificate_that_was_exchanged_is_used_for_the_next_connection_and_a_broken_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_CERTIFICATES_S", 0.05)
    asyncio.get_running_loop().set_debug(False)  # asyncio tells of handshakes that fail only when it is on
    caplog.set_level(logging.INFO)
    certificates = Certificates(tmp_path)
    certificates.issue("server", "127.0.0.1", "localhost", trusted=False)
    port = free_port()
    authority = ("--cafile", str(certificates.file("ca.pem")))
    agent = AgentHere(tmp_path / "agent", caplog, NOWHERE, rules=RULE)
    agent.config_file.write_text(
        agent.config_file.read_text("utf-8").replace("[outbox]", f"[mqtt]\n{tls(certificates, port)['mqtt']}\n[outbox]")
    )
    async with agent:
        code, _ = await mosquitto_pub(port, *authority)
        assert code != 0
        certificates.issue("server", "127.0.0.1", "localhost")
        await agent.logged("mqtt_certificate_changed")
        assert await mosquitto_pub(port, *authority) == (0, "")
        certificates.copy("server.key", "server.pem")  # only half of the exchange
        await agent.logged("mqtt_certificate_refused")
        assert await mosquitto_pub(port, *authority) == (0, "")
        await agent.account(stored=2)


async def test_devices_that_are_connected_stay_when_certificates_are_exchanged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_CERTIFICATES_S", 0.05)
    caplog.set_level(logging.INFO)
    certificates, port = Certificates(tmp_path), free_port()
    context = ssl.create_default_context(cafile=str(certificates.file("ca.pem")))
    agent = AgentHere(tmp_path / "agent", caplog, NOWHERE, rules=RULE)
    agent.config_file.write_text(
        agent.config_file.read_text("utf-8").replace("[outbox]", f"[mqtt]\n{tls(certificates, port)['mqtt']}\n[outbox]")
    )
    may_all = '[[mqtt.allow]]\npublish = ["#"]\nsubscribe = ["#"]\n'
    agent.config_file.write_text(agent.config_file.read_text("utf-8").replace("[outbox]", may_all + "[outbox]"))
    certificates.issue("client", "gw", common_name="boiler-1")
    context.load_cert_chain(certificates.file("client.pem"), certificates.file("client.key"))
    async with (
        agent,
        aiomqtt.Client("127.0.0.1", port, timeout=DEADLINE_S, identifier="before", tls_context=context) as before,
    ):
        await before.subscribe("cmnd/x", qos=1)
        for number in range(1, 4):
            certificates.issue("server", "127.0.0.1", "localhost")
            await agent.logged("mqtt_certificate_changed", number)
            async with aiomqtt.Client(
                "127.0.0.1", port, timeout=DEADLINE_S, identifier="after", tls_context=context
            ) as after:
                await after.publish("cmnd/x", b"%d" % number, qos=1)
            assert (await anext(aiter(before.messages))).payload == b"%d" % number
            await before.publish("events/boiler-1", b"{}", qos=1)
        await agent.account(stored=3)


async def test_a_user_needs_the_password_that_passwd_wrote(tmp_path: Path) -> None:
    port, users = free_port(), tmp_path / "users"
    agent = Agent(
        tmp_path / "agent",
        NOWHERE,
        rules=RULE,
        tables={"mqtt": f'listen = "127.0.0.1:{port}"\nusers_file = "{users}"'},
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgeagent", "passwd", str(users), "plug-7", "--stdin"), stdin=asyncio.subprocess.PIPE
    )
    await process.communicate(b"secret\n")
    async with agent:
        assert await mosquitto_pub(port, "-u", "plug-7", "-P", "secret") == (0, "")
        for version, code in (("5", 135), ("mqttv311", 5)):
            found, said = await mosquitto_pub(port, "-V", version, "-u", "plug-7", "-P", "wrong")
            assert found != 0, code
            assert "not authori" in said.lower() or "user name or password" in said.lower()
        stats = await agent.account(stored=1)
        assert stats["mqtt"]["connects_refused"] == 2
        await agent.logged("mqtt_refused_device")


async def test_a_port_that_a_mosquitto_has_is_named_by_run_and_doctor(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as mosquitto:
        agent = Agent(
            tmp_path / "agent", NOWHERE, rules=RULE, tables={"mqtt": f'listen = "127.0.0.1:{mosquitto.port}"'}
        )
        agent.spawn()
        assert await agent.exit_code() == 1
        assert "address already in use: a Mosquitto or another agent runs there" in agent.log
        code, out, _ = await agent.command("doctor")
        assert code == 1
        assert f"mqtt.listen 127.0.0.1:{mosquitto.port}: another program listens there, perhaps a Mosquitto" in out


@pytest.mark.parametrize(("error", "operations"), [(errno.ENOSPC, NEW_SPACE), (errno.EIO, ("sync",))])
async def test_while_the_disk_fails_devices_wait_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: int, operations: tuple[str, ...]
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    agent = AgentHere(tmp_path / "agent", caplog, NOWHERE, rules=RULE)
    agent.config_file.write_text(
        agent.config_file.read_text("utf-8").replace("[outbox]", f'[mqtt]\nlisten = "127.0.0.1:{port}"\n[outbox]')
    )
    async with agent, PahoDevice(port, "boiler-1") as device:
        device.publish("events/boiler-1", b'{"n": 0}', 1, number=0)
        await device.until(lambda it: it.acknowledged == {0}, "the first acknowledgement")
        agent.filesystem.fail(error, *operations)
        for number in range(1, 200):
            device.publish(
                "events/boiler-1", b'{"n": %d, "f": "%s"}' % (number, b"x" * 9000), number % 3, number=number
            )
        await agent.stats(lambda stats: stats["mqtt"]["held"], "messages that are held")
        agent.filesystem.heal()
        await device.until(lambda it: len(it.acknowledged) == 200, "all acknowledgements")
        await agent.account(stored=200)
