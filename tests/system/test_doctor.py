"""`edgeagent doctor` as a process: on what works, on what does not, and beside an agent or a dispatcher that runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, NamedTuple

import mqtt5
import pytest

from tests.fakes import argo_server
from tests.fakes.argo_failures import JSON_TYPE, Answer
from tests.fakes.argo_server import FakeArgo
from tests.fakes.link import code_of
from tests.fakes.listener import Listener
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.mqtt_peer import parse
from tests.fakes.programs import Agent, Program
from tests.waiting import until_answer

TRIGGERS = 60
UNANSWERED = 20


class Told(NamedTuple):
    """What a doctor said."""

    code: int
    findings: list[dict[str, Any]]

    def of(self, subject: str) -> dict[str, Any]:
        """The one finding whose subject begins so."""
        (found,) = [finding for finding in self.findings if finding["subject"].startswith(subject)]
        return found

    def levels(self, level: str) -> list[str]:
        """The subjects that stand so."""
        return [finding["subject"] for finding in self.findings if finding["level"] == level]


async def run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgeagent", "doctor", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def told(config: Path, *arguments: str) -> Told:
    """What it says; asked again if only the machine was too busy for the answer of an engine that is there."""
    code, out, err = await until_answer(
        lambda: run("--json", "-c", str(config), *arguments),
        lambda said: "no answer within" not in said[1],
        "an answer of the engine",
    )
    assert err == ""
    findings = [json.loads(line) for line in out.splitlines()]
    assert all(finding["remedy"] for finding in findings if finding["level"] != "ok")
    return Told(code, findings)


def agent_config(directory: Path, uplink: str, more: str = "") -> Path:
    config = directory / "config.toml"
    config.write_text(f'[agent]\nid = "gw-1"\nstate_dir = "{directory}/state"\n[uplink]\nurl = "{uplink}"\n{more}')
    return config


def dispatch_config(broker: str, engine: str, token_file: Path) -> str:
    return f"""
        [broker]
        url = "{broker}"
        instance = "d-0"
        [engine]
        kind = "argo"
        url = "{engine}"
        token_file = "{token_file}"
        [log]
        format = "text"
        [[allow]]
        namespaces = ["plant", "mill"]
        templates = ["inspect"]
        cluster_templates = ["audit"]
    """


@pytest.fixture
async def argo() -> AsyncIterator[FakeArgo]:
    async with FakeArgo(token="good") as server:  # noqa: S106  a test's
        server.templates.update([("plant", "inspect"), ("mill", "inspect"), ("", "audit")])
        yield server


@pytest.fixture
def dispatch(tmp_path: Path, broker: Mosquitto, argo: FakeArgo) -> Program:
    """A dispatcher that is not started yet."""
    token = tmp_path / "token"
    token.write_text("good")
    token.chmod(0o600)
    return Program("dispatch", tmp_path / "d", dispatch_config(broker.url, argo.url, token))


def clients(broker: Mosquitto, part: str) -> list[str]:
    """How the clients whose id has this part connected, as the broker logged it: `id (p5, c1, k30).`."""
    return re.findall(rf"New client connected from \S+ as (\S*{part}\S* \(p\d, c\d)", broker.log_file.read_text())


async def test_a_gateway_in_order_is_told_so_and_its_running_agent_does_not_notice(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Agent(tmp_path / "agent", broker.url, local=broker.url) as agent:
        await agent.logged("link_up", 2)
        found = await told(agent.config_file)
        assert (found.code, found.levels("fail")) == (0, [])
        assert "in use by process" in found.of("state directory")["found"]
        assert found.of("uplink mqtt://")["level"] == "ok"
        assert found.of("local mqtt://")["level"] == "ok"
        assert found.of("uplink subscription argo/workflows/response/gw-1")["level"] == "ok"
        assert found.of("local subscription sensors/+/data")["level"] == "ok"
        assert found.of("clock")["level"] == "ok"
        assert "median of 20" in found.of("disk")["found"]
        assert agent.log.count("event=link_up") == 2, "nobody took its session"
        assert "event=link_down" not in agent.log
        assert await agent.triggered("boiler-1", {"temp": 97.1}), "it owns its directory as before"
    own = clients(broker, "-up-doctor-")
    assert own
    assert all(client.endswith("(p5, c1") for client in own), "sessions of its own, which begin and end with it"


async def test_before_the_first_start_nothing_is_made(broker: Mosquitto, tmp_path: Path) -> None:
    config = agent_config(tmp_path, broker.url)
    found = await told(config)
    assert found.code == 0
    assert "is not there yet" in found.of("state directory")["found"]
    assert not (tmp_path / "state").exists()
    assert sorted(os.listdir(tmp_path)) == ["config.toml", "mosquitto"]  # noqa: PTH208  names are wanted


async def test_a_broker_that_is_away_and_an_open_secret_are_told_to_a_person(tmp_path: Path, free_port: int) -> None:
    password = tmp_path / "broker.password"
    password.write_text("correct horse")
    password.chmod(0o644)
    config = agent_config(
        tmp_path, f"mqtt://127.0.0.1:{free_port}", 'username = "gw-1"\npassword_file = "broker.password"\n'
    )
    code, out, err = await run("-c", str(config))
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == f"ok    configuration: {config}"
    (secret,) = [line for line in lines if line.startswith("warn  uplink.password_file: ")]
    assert f"chmod o= {password}" in secret
    (broker,) = [line for line in lines if line.startswith("fail ")]
    assert f"mqtt://127.0.0.1:{free_port}: the connection failed (Connection refused); start the broker" in broker
    assert "correct horse" not in out


async def test_a_broker_with_a_second_address_that_works_is_no_failure(
    broker: Mosquitto, tmp_path: Path, free_port: int
) -> None:
    config = agent_config(tmp_path, broker.url, f'urls = ["mqtt://127.0.0.1:{free_port}", "{broker.url}"]\n')
    found = await told(config)
    assert found.code == 0
    assert found.of(f"uplink mqtt://127.0.0.1:{free_port}")["level"] == "warn"
    assert found.of(f"uplink {broker.url}")["level"] == "ok"


async def test_a_refused_subscription_is_named_and_the_others_are_looked_at(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A broker with access rights for subscriptions: Mosquitto's acl_file grants them all."""
        while data := await reader.read(1 << 16):
            for packet in parse(data):
                if isinstance(packet, mqtt5.ConnectPacket):
                    writer.write(mqtt5.ConnAckPacket().write())
                elif isinstance(packet, mqtt5.SubscribePacket):
                    code = 0x87 if "response" in packet.topic_filters[0].pattern else 1
                    writer.write(mqtt5.SubAckPacket(packet.packet_id, [mqtt5.SubAckReasonCode(code)]).write())
        writer.close()

    async with Listener(serve) as broker:
        found = await told(agent_config(tmp_path, f"mqtt://127.0.0.1:{broker.port}"))
    assert found.code == 1
    assert found.levels("fail") == ["uplink subscription argo/workflows/response/gw-1"]
    assert "not authorized" in found.of("uplink subscription argo/workflows/response")["found"]
    assert found.of("uplink subscription argo/workflows/status")["level"] == "ok"


async def test_a_broker_that_lets_nobody_in_is_named(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    async with Mosquitto(tmp_path / "broker", listener=["allow_anonymous false"]) as broker:
        found = await told(agent_config(tmp_path, broker.url))
    assert found.code == 1
    refused = found.of("uplink mqtt://")
    assert (refused["level"], "refused" in refused["found"]) == ("fail", True)
    assert "edgeagent-gw-1-up-doctor-" in refused["remedy"]


async def test_a_dispatcher_in_order_is_told_so(dispatch: Program, argo: FakeArgo) -> None:
    dispatch.spawn()
    await dispatch.logged("status_leader")
    found = await told(dispatch.config_file, "--dispatch")
    assert (found.code, found.levels("warn"), found.levels("fail")) == (0, [], [])
    assert found.of("group edgeagent")["found"] == "connected to the broker: d-0; d-0 publishes the statuses"
    assert found.of("engine http://")["found"].startswith("Argo Server v")
    assert found.of("namespace plant")["level"] == "ok"
    assert found.of("namespace mill")["level"] == "ok"
    assert found.of("template inspect")["found"] == "exists in mill, plant"
    assert found.of("cluster template audit")["found"] == "exists"
    assert found.of("broker subscription $share/edgeagent/argo/workflows/trigger/+")["level"] == "ok"
    assert argo.workflows() == []
    written = [request for request in argo.requests if request.method != "GET"]
    assert {request.body["serverDryRun"] for request in written} == {True}


async def test_that_no_dispatcher_of_the_group_runs_is_told(dispatch: Program, broker: Mosquitto) -> None:
    found = await told(dispatch.config_file, "--dispatch")
    assert (found.code, found.levels("warn"), found.levels("fail")) == (0, ["group edgeagent"], [])
    assert found.of("group edgeagent")["found"] == "no dispatcher of it is connected to the broker"
    assert "nobody takes the gateways' triggers" in found.of("group edgeagent")["remedy"]
    joined = re.findall(r"(\S+) \d edgeagent/dispatch/edgeagent/\+", broker.log_file.read_text())
    assert all("-doctor-" in client for client in joined)


async def test_how_much_of_each_max_active_is_used_is_told(dispatch: Program, argo: FakeArgo) -> None:
    limits = 'max_active = { "plant/*" = 20, "*/inspect" = 2 }'
    dispatch.config_file.write_text(dispatch.config_file.read_text().replace("[engine]", f"[engine]\n{limits}"))
    for namespace, name, template, phase in (
        ("plant", "a", "inspect", "Running"),
        ("mill", "b", "inspect", "Running"),
        ("plant", "c", "report", ""),
        ("plant", "d", "inspect", "Failed"),
    ):
        labels = {"edgeagent.io/correlation-id": name * 32}
        metadata = {"namespace": namespace, "name": name, "labels": labels}
        argo.put({"metadata": metadata, "spec": {"workflowTemplateRef": {"name": template}}})
        if phase:
            argo.advance(namespace, name, phase=phase)
    found = await told(dispatch.config_file, "--dispatch")
    assert (found.code, found.levels("warn")) == (0, ["group edgeagent", 'max_active "*/inspect"'])
    assert found.of('max_active "plant/*"')["found"] == "2 of 20 unfinished workflows"
    assert found.of('max_active "*/inspect"')["found"] == "2 of 2 unfinished workflows: its triggers wait"


async def test_a_running_dispatcher_gets_every_trigger_while_the_doctor_looks(
    dispatch: Program, broker: Mosquitto, argo: FakeArgo
) -> None:
    dispatch.spawn()
    await dispatch.logged("broker_connected")
    async with MqttClient(broker.url, "gw-1", "argo/workflows/response/gw-1") as gateway:
        looking = asyncio.create_task(told(dispatch.config_file, "--dispatch"))
        sent = 0
        while not looking.done() or sent < TRIGGERS:
            ack = await gateway.publish("argo/workflows/trigger/gw-1", _trigger(f"a-{sent}"))
            assert code_of(ack) == 0
            sent += 1
            if sent > UNANSWERED:  # no more than a broker queues, however long the doctor takes
                assert json.loads((await gateway.message()).payload)["code"] == 200
        assert (await looking).code == 0
        for _ in range(min(sent, UNANSWERED)):
            assert json.loads((await gateway.message()).payload)["code"] == 200
    assert len(argo.workflows()) == sent
    assert dispatch.log.count("event=broker_connected") == 1, "nobody took its session"
    assert all(client.endswith("(p5, c1") for client in clients(broker, "-doctor-"))
    joined = re.findall(r"(\S+) \d \$share/edgeagent/argo", broker.log_file.read_text())
    assert set(joined) == {"edgeagent-dispatch-d-0"}, "what it were given there, no dispatcher would get"
    assert await dispatch.stop() == 0


def _trigger(name: str) -> bytes:
    workflow = {"metadata": {"name": name}, "spec": {"workflowTemplateRef": {"name": "inspect"}}}
    return json.dumps({"namespace": "plant", "agent": "gw-1", "attempt": 1, "workflow": workflow}).encode()


async def test_who_may_speak_for_whom_is_told_on_both_sides(
    tmp_path: Path, broker: Mosquitto, dispatch: Program
) -> None:
    config = dispatch.config_file.read_text()
    dispatch.config_file.write_text(config.replace("[engine]", "[engine]\n        bind_agent = false"))
    found = await told(dispatch.config_file, "--dispatch")
    assert (found.code, found.levels("warn")) == (0, ["engine.bind_agent", "group edgeagent"])
    assert "can name any gateway" in found.of("engine.bind_agent")["found"]
    found = await told(agent_config(tmp_path, broker.url))
    base = found.of("uplink trigger topic argo/workflows/trigger")
    assert base["level"] == "ok"
    assert "access list can bind each gateway" in base["found"]
    found = await told(agent_config(tmp_path, broker.url, 'trigger_topic = "argo/workflows/trigger/another"\n'))
    warned = found.of("uplink trigger topic argo/workflows/trigger/another")
    assert warned["level"] == "warn"
    assert '"argo/workflows/trigger/{agent}"' in warned["remedy"]


async def test_a_refused_token_and_a_namespace_without_rights_fail(dispatch: Program, argo: FakeArgo) -> None:
    forbidden = argo_server.refused(403, 7, 'workflows.argoproj.io is forbidden: User "d" cannot list "workflows"')
    argo.fail_next(forbidden, forbidden, path="/workflows/mill")  # the first is what the token is tried with
    found = await told(dispatch.config_file, "--dispatch")
    assert (found.code, found.levels("fail")) == (1, ["namespace mill"])
    assert found.of("namespace mill")["found"].startswith("may not create workflows: 403: ")
    assert "grant create, get, list and watch" in found.of("namespace mill")["remedy"]
    argo.token = "renewed"  # noqa: S105  a test's
    found = await told(dispatch.config_file, "--dispatch")
    assert found.code == 1
    refused = found.of("engine http://")
    assert "was refused" in refused["found"]
    assert "token_file" in refused["remedy"]
    assert "good" not in json.dumps(found.findings)


async def test_each_right_that_is_missing_is_named(dispatch: Program, argo: FakeArgo) -> None:
    def denied(verb: str) -> argo_server.Failure:
        return argo_server.refused(403, 7, f'workflows.argoproj.io is forbidden: User "d" cannot {verb} "workflows"')

    argo.fail_next(denied("watch"), path="/workflow-events/plant")
    argo.fail_next(denied("create"), path="/workflows/mill", method="POST")
    found = await told(dispatch.config_file, "--dispatch")
    assert found.of("namespace plant")["found"].startswith("may not watch workflows: 403: ")
    assert found.of("namespace mill")["found"].startswith("may not create workflows: 403: ")


async def test_a_template_that_nobody_has_made_fails_and_one_that_some_lack_is_told(
    dispatch: Program, argo: FakeArgo
) -> None:
    argo.templates.discard(("mill", "inspect"))
    found = await told(dispatch.config_file, "--dispatch")
    template = found.of("template inspect")
    assert (found.code, template["level"], template["found"]) == (0, "warn", "exists in plant, but not in mill")
    argo.templates.clear()
    found = await told(dispatch.config_file, "--dispatch")
    template = found.of("template inspect")
    assert (found.code, template["level"], template["found"]) == (1, "fail", "does not exist in mill, plant")
    assert found.of("cluster template audit")["level"] == "fail"


async def test_clocks_that_are_apart_are_told(dispatch: Program, argo: FakeArgo) -> None:
    for away_s, level in ((600, "warn"), (5, "ok")):
        theirs = format_datetime(datetime.now(UTC) - timedelta(seconds=away_s), usegmt=True)
        answer = Answer(200, b'{"version": "v4.0.1"}', (JSON_TYPE, ("Date", theirs)))
        argo.fail_next(*[argo_server.Failure("answer", answer)] * 3, path="/api/v1/version")
        found = await told(dispatch.config_file, "--dispatch")
        assert (found.code, found.of("clock")["level"]) == (0, level)
        if level == "warn":
            assert re.search(r"6\d\d s apart", found.of("clock")["found"])


async def test_an_engine_that_is_away_fails_and_a_rehearsal_is_told(
    tmp_path: Path, broker: Mosquitto, argo: FakeArgo, dispatch: Program
) -> None:
    await argo.stop()
    found = await told(dispatch.config_file, "--dispatch")
    assert (found.code, found.of("engine http://")["level"]) == (1, "fail")
    rehearsal = tmp_path / "rehearsal.toml"
    rehearsal.write_text(f'[broker]\nurl = "{broker.url}"\n[engine]\nkind = "dry-run"\n')
    found = await told(rehearsal, "--dispatch")
    assert (found.code, found.of("engine")["level"]) == (0, "warn")


async def test_a_configuration_that_cannot_be_used_exits_78(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[log]\nlevel = "loud"\n')
    for arguments in (["-c", str(config)], ["--dispatch", "-c", str(config)], ["-c", str(tmp_path / "none.toml")]):
        code, out, err = await run(*arguments)
        assert (code, out) == (78, "")
        assert err.startswith("edgeagent: ")
        assert "Traceback" not in err


async def test_what_a_broker_lacks_is_a_warning(tmp_path: Path) -> None:
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    async with Mosquitto(directory, config=["retain_available false", "max_qos 0"]) as broker:
        found = await told(agent_config(tmp_path, broker.url))
    lacks = [finding["found"] for finding in found.findings if finding["level"] == "warn"]
    assert [text[:28] for text in lacks if text.startswith("it ")] == [
        "it keeps no retained message",
        "it takes only QoS 0: what a ",
    ]
    assert found.of("uplink subscription argo/workflows/response/gw-1")["level"] == "ok"


async def test_a_dispatcher_over_3_1_1_hears_whether_shared_subscriptions_deliver(
    dispatch: Program, broker: Mosquitto
) -> None:
    dispatch.config_file.write_text(
        dispatch.config_file.read_text().replace(f'url = "{broker.url}"', f'url = "{broker.url}"\nversion = "3.1.1"')
    )
    found = await told(dispatch.config_file, "--dispatch")
    assert found.of("broker shared subscriptions")["level"] == "ok"
