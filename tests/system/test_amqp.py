"""RabbitMQ as the broker, by AMQP: triggers start their workflows once, whatever happens to those between."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pytest

from edgeagent.config.tables import Connection, FilePath
from edgeagent.dispatcher.cursor import cursor_payload
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import TAKEN, Subscription
from edgeagent.wire import topics
from tests.ending import end
from tests.fakes.argo_server import FakeArgo
from tests.fakes.certificates import Certificates
from tests.fakes.dispatch_group import ArgoDispatcher, Monitor
from tests.fakes.dispatch_scene import scene
from tests.fakes.manage_desk import put
from tests.fakes.mosquitto import MqttClient
from tests.fakes.programs import Agent
from tests.fakes.rabbitmq import RabbitMq
from tests.waiting import DEADLINE_S, until, until_answer

ROOT = Path(__file__).parents[2]

CURSOR = "edgeagent.dispatch.edgeagent.cursor.plant"
QUEUES = ("edgeagent.trigger.edgeagent", "edgeagent.agent.gw-1", "edgeagent.dead", CURSOR)
# RabbitMQ takes its time after a restart: what was unanswered is sent again much later only.
PATIENT_S = 360.0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of the broker and a gateway."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[RabbitMq]:
    """One broker for all tests: it starts slowly."""
    broker = RabbitMq(tmp_path_factory.mktemp("rabbitmq"), certificates)
    asyncio.run(broker.__aenter__())
    yield broker
    asyncio.run(broker.__aexit__(None, None, None))


@pytest.fixture
def broker(running: RabbitMq) -> Iterator[RabbitMq]:
    """The broker, without anything of earlier tests afterwards."""
    yield running
    with connected(running) as connection:
        for queue in QUEUES:
            connection.channel().queue_delete(queue)


def connected(broker: RabbitMq) -> pika.BlockingConnection:
    """A client of another hand."""
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp_port))


async def test_an_agent_and_dispatchers_by_amqp_start_each_workflow_once_and_tell_its_end(
    tmp_path: Path, broker: RabbitMq
) -> None:
    async with scene(tmp_path, rabbitmq=broker) as here:
        await here.feed(200)
        await here.all_is_done()
        assert max(here.monitor.triggers.values()) == 1
        assert await here.group[0].stop() == 0
        await here.feed(20)
        await here.all_is_done()


async def test_certificates_that_change_are_tried_beside_the_connection_and_used_if_they_work(
    tmp_path: Path, running: RabbitMq, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    password = tmp_path / "password"
    password.write_text("guest", "utf-8")
    keys = {"username": "guest", "password_file": FilePath(password), **certificates.client}
    connection = Connection(url=f"amqps://127.0.0.1:{running.tls_port}", **keys)
    client = MqttClient(connection.url, "tls", "argo/workflows/response/gw-tls")
    session = asyncio.create_task(
        keep_connected(
            connection,
            client,
            client_id="tls",
            subscriptions=[Subscription("argo/workflows/response/gw-tls")],
            base_s=0.1,
            check_s=0.1,
        )
    )
    await client.wait_up()
    assert (await client.publish("argo/workflows/response/gw-tls", b"1")).outcome is TAKEN
    assert (await client.message()).payload == b"1"
    certificates.issue("client", "gw-042.example", trusted=False)
    await until(lambda: "the new certificates do not work" in caplog.text, "the refusal")
    assert not client.downs
    certificates.issue("client", "gw-042.example")
    await client.until(lambda: len(client.ups) == 2, "the next connection")
    assert "certificates were changed" in str(client.downs[0])
    await end(session)


async def test_an_agent_by_mqtt_meets_dispatchers_by_amqp(tmp_path: Path, broker: RabbitMq) -> None:
    password = tmp_path / "password"
    password.write_text("guest\n", "utf-8")
    keys = f'version = "3.1.1"\nusername = "guest"\npassword_file = "{password}"'
    async with scene(tmp_path, rabbitmq=broker, uplink_url=broker.mqtt_url, uplink=keys) as here:
        await here.feed(100)
        await here.all_is_done()


async def test_kills_of_agent_and_dispatchers_in_mid_stream_lose_nothing_and_start_nothing_twice(
    tmp_path: Path, broker: RabbitMq
) -> None:
    keys = 'response_timeout = "4s"\nkeepalive = "2s"'
    async with scene(tmp_path, rabbitmq=broker, uplink=keys, broker_keys='keepalive = "2s"') as here:
        for member in (here.group[0], here.group[1]):
            await here.feed(100)
            await here.answered(len(here.monitor.responses) + 10)
            await member.kill()
            await member.start()
        await here.feed(100)
        await here.answered(len(here.monitor.responses) + 10)
        await here.agent.kill()
        await here.agent.start()
        await here.all_is_done(deadline_s=PATIENT_S)


async def test_a_broker_that_is_killed_in_mid_stream_loses_nothing(tmp_path: Path, broker: RabbitMq) -> None:
    async with scene(tmp_path, rabbitmq=broker, uplink='response_timeout = "5s"') as here:
        await here.feed(100)
        await here.answered(20)
        await broker.restart()
        await here.feed(40)
        await here.all_are_started(deadline_s=PATIENT_S)


async def test_a_queue_that_is_deleted_under_its_consumers_is_made_anew(tmp_path: Path, broker: RabbitMq) -> None:
    async with scene(tmp_path, rabbitmq=broker, uplink='response_timeout = "3s"') as here:
        await here.feed(100)
        await here.answered(10)
        await asyncio.to_thread(delete, broker, "edgeagent.trigger.edgeagent")
        await asyncio.to_thread(delete, broker, "edgeagent.agent.gw-1")
        await here.feed(40)
        await here.all_are_started(deadline_s=PATIENT_S)
        assert "was deleted, or its broker is gone" in here.agent.log


def delete(broker: RabbitMq, queue: str) -> None:
    """Delete a queue, as an administrator may."""
    with connected(broker) as connection:
        connection.channel().queue_delete(queue)


async def test_a_broker_without_memory_is_told_and_gets_nothing_until_it_has_some(
    tmp_path: Path, broker: RabbitMq
) -> None:
    async with scene(tmp_path, rabbitmq=broker) as here:
        await here.feed(20)
        await here.all_is_done()
        await broker.control("set_vm_memory_high_watermark", "0.0001")
        await here.feed(20)
        await here.agent.stats(
            lambda stats: "takes no publications" in (stats["uplink"]["trouble"] or ""), "the trouble"
        )
        await broker.control("set_vm_memory_high_watermark", "0.4")
        await here.all_is_done()
        assert here.agent.log.count("event=amqp_blocked") == here.agent.log.count("event=amqp_unblocked") == 1
        assert "event=uplink_down" not in here.agent.log


async def test_rights_that_are_taken_away_are_told_in_words_and_what_was_in_flight_goes_again(
    tmp_path: Path, broker: RabbitMq
) -> None:
    await broker.control("add_user", "gw-1", "secret")
    await broker.control("set_permissions", "gw-1", "^edgeagent\\.agent\\.gw-1$", ".*", ".*")
    password = tmp_path / "password"
    password.write_text("secret\n", "utf-8")
    keys = f'username = "gw-1"\npassword_file = "{password}"\nresponse_timeout = "5s"'
    async with scene(tmp_path, rabbitmq=broker, uplink=keys) as here:
        await here.feed(20)
        await here.all_is_done()
        await broker.control("set_permissions", "gw-1", "^edgeagent\\.agent\\.gw-1$", "^edgeagent", ".*")
        await broker.control("close_all_connections", "a channel in use keeps the rights that it has asked for")
        await here.feed(20)
        await until(lambda: "ACCESS_REFUSED" in here.agent.log, "the refusal", seen=here.agent.tail)
        assert "rights (docs/brokers.md)" in here.agent.log
        await broker.control("set_permissions", "gw-1", "^edgeagent\\.agent\\.gw-1$", ".*", ".*")
        await here.all_is_done(deadline_s=PATIENT_S)


def answer_all(broker: RabbitMq, count: int) -> list[tuple[pika.BasicProperties, dict[str, Any]]]:
    """Take so many triggers and answer each on the topic exchange, by the properties alone."""
    taken = []
    with connected(broker) as connection:
        channel = connection.channel()
        channel.queue_declare("edgeagent.trigger.edgeagent", durable=True)
        for key in ("argo.workflows.trigger", "argo.workflows.trigger.*"):
            channel.queue_bind("edgeagent.trigger.edgeagent", "amq.topic", key)
        for method, properties, body in channel.consume("edgeagent.trigger.edgeagent", inactivity_timeout=DEADLINE_S):
            if method is None:
                break
            trigger = json.loads(body)
            answer = {
                "correlation_id": properties.correlation_id,
                "code": 200,
                "status": "Workflow triggered successfully",
                "workflowId": trigger["workflow"]["metadata"]["name"],
                "namespace": trigger["namespace"],
            }
            channel.basic_publish("amq.topic", properties.reply_to, json.dumps(answer).encode())
            channel.basic_ack(method.delivery_tag)
            taken.append((properties, trigger))
            if len(taken) == count:
                break
    return taken


async def test_a_foreign_consumer_answers_by_the_properties_alone(tmp_path: Path, broker: RabbitMq) -> None:
    uplink = f'trigger_topic = "{topics.AGENTS_TRIGGER}"'
    async with Agent(tmp_path / "agent", broker.url, tables={"uplink": uplink}) as agent:
        await agent.logged("link_up")
        correlation = await agent.triggered("boiler-1", {"temp": 97.1})
        await agent.logged("uplink_unheard")
        taken = await asyncio.to_thread(answer_all, broker, 1)
        await agent.account(accepted=1, settled=1, pending=0)
    ((properties, trigger),) = taken
    assert trigger["correlation_id"] == properties.correlation_id == correlation
    assert properties.reply_to == properties.headers["x-reply-to-topic"] == "argo.workflows.response.gw-1"
    assert properties.headers | {"agent": "gw-1", "rule": "overheat", "source": "boiler-1"} == properties.headers
    assert properties.message_id == f"{correlation}-{trigger['attempt']}"
    assert properties.delivery_mode == 2
    assert properties.content_type == "application/json"
    assert int(properties.expiration) > 0


def hold(broker: RabbitMq, queue: str) -> pika.BlockingConnection:
    """Consume a queue as a gateway does. When its events are no longer processed, it has lost its power."""
    parameters = pika.ConnectionParameters("127.0.0.1", broker.amqp_port, heartbeat=3)
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, arguments={"x-expires": 604_800_000})
    channel.basic_consume(queue, lambda *_: None, exclusive=True)
    return connection


async def test_an_agent_that_comes_back_after_a_power_cut_says_why_it_waits_and_is_let_in(
    tmp_path: Path, broker: RabbitMq
) -> None:
    dead = await asyncio.to_thread(hold, broker, "edgeagent.agent.gw-1")
    # Longer than the dead one's: however late the broker is, it is not taken for a living one.
    agent = Agent(tmp_path / "agent", broker.url, tables={"uplink": 'keepalive = "30s"'})
    agent.spawn()
    await until_answer(  # until then it lives, however late the agent is
        lambda: asyncio.to_thread(dead.process_data_events, 0),
        lambda _: "event=link_down" in agent.log,
        "the first refusal",
        more=agent.tail,
    )
    await agent.logged("link_up")
    assert "may be an earlier one of ours, as after a power cut: the broker then ends it within 60 s" in agent.log
    assert "give each its own" not in agent.log
    assert dead.is_open, "it has not noticed anything"
    with pytest.raises(pika.exceptions.AMQPError):
        dead.process_data_events(0)
    assert await agent.stop() == 0


async def test_a_second_agent_of_the_same_id_is_told_so_and_does_not_disturb_the_first(
    tmp_path: Path, broker: RabbitMq
) -> None:
    impatient = {"uplink": 'keepalive = "1s"'}
    async with Agent(tmp_path / "first", broker.url) as first:
        await first.logged("link_up")
        async with Agent(tmp_path / "second", broker.url, tables=impatient) as second:
            await second.logged("link_down", 2)
            assert "another agent has the same id, so give each its own (agent.id)" in second.log
            assert "event=link_up" not in second.log
        assert "event=link_down" not in first.log


def finished(argo: FakeArgo, name: str, minutes_ago: int) -> None:
    """A gateway's workflow that has ended."""
    put(argo, name)
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    argo.advance("plant", name, phase="Succeeded", finishedAt=at.strftime("%Y-%m-%dT%H:%M:%SZ"))


def keep_cursor(broker: RabbitMq, minutes_ago: int) -> None:
    """What a leader publishes when the final statuses until then are told."""
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    with connected(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(delivery_mode=2)
        channel.basic_publish("amq.topic", CURSOR, cursor_payload(at.timestamp()), properties, mandatory=True)


async def test_a_dispatcher_alone_tells_only_what_ended_since_the_last_one_stopped_also_after_a_restart_of_the_broker(
    tmp_path: Path, broker: RabbitMq
) -> None:
    old, new, running = (f"overheat-{sign * 32}" for sign in "abc")
    async with FakeArgo() as argo, Monitor(broker.url) as monitor:
        finished(argo, old, 120)
        finished(argo, new, 60)
        async with ArgoDispatcher(tmp_path / "d0", broker.url, argo.url) as dispatcher:
            await monitor.until(lambda: len(monitor.finals) == 2, "all that has ended, for the first time")
            await dispatcher.stop()
            keep_cursor(broker, 100)
            keep_cursor(broker, 90)
            await broker.control("stop_app")
            await broker.control("start_app")
            for _ in range(2):  # nobody takes the cursor away by reading it
                told = monitor.finals.pop(new)
                assert told == {"Succeeded": 1}
                await dispatcher.start()
                await monitor.until(lambda: new in monitor.finals, "the later end")
                await dispatcher.stop()
            await dispatcher.start()
            finished(argo, running, 0)
            await monitor.until(lambda: running in monitor.finals, "an end now")
        assert monitor.finals[old] == {"Succeeded": 1}


async def grant(broker: RabbitMq, name: str, *, agent: str = "") -> None:
    """Give a user the rights that docs/brokers.md has for it."""
    text = (ROOT / "docs" / "brokers.md").read_text("utf-8").replace("\\\n", " ")
    commands = re.findall(rf"^rabbitmqctl (set_\w*permissions -p plant {name} .*)$", text, re.MULTILINE)
    commands = [command for command in commands if "mqtt-subscription" not in command]  # by the plugin instead
    assert len(commands) == 2
    for command in commands:
        user = agent or name
        await broker.control(*shlex.split(command.replace("gw-042", user).replace("-p plant ", "")))


async def doctor(*arguments: str) -> dict[str, str]:
    """What the doctor says of the broker: the level of each subject."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgeagent", "doctor", "--json", *arguments, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    found = [json.loads(line) for line in out.splitlines()]
    return {finding["subject"]: finding["level"] for finding in found if finding["subject"][:6] in {"uplink", "broker"}}


async def test_the_rights_in_the_documents_suffice_and_the_doctor_names_each_that_is_missing(
    tmp_path: Path, broker: RabbitMq
) -> None:
    for user in ("gw-1", "dispatcher"):
        if user not in await broker.control("list_users"):
            await broker.control("add_user", user, "secret")
        await broker.control("change_password", user, "secret")
    await grant(broker, "gw-042", agent="gw-1")
    await grant(broker, "dispatcher")
    password = tmp_path / "password"
    password.write_text("secret\n", "utf-8")
    password.chmod(0o600)
    keys = f'password_file = "{password}"\nusername ='
    async with scene(tmp_path, rabbitmq=broker, uplink=f'{keys} "gw-1"', broker_keys=f'{keys} "dispatcher"') as here:
        await here.feed(20)
        await here.all_is_done()
        assert "ACCESS_REFUSED" not in here.agent.log + here.group.tails()
        agents, dispatchers = str(here.agent.config_file), str(here.group[0].config_file)
        assert set((await doctor("-c", agents)).values()) == {"ok"}
        assert set((await doctor("--dispatch", "-c", dispatchers)).values()) == {"ok"}
    await broker.control("set_topic_permissions", "gw-1", "amq.topic", "^edgeagent", "response")
    told = await doctor("-c", agents)
    assert told["uplink publishing argo/workflows/trigger/gw-1"] == "fail"
    assert told["uplink publishing edgeagent/state/gw-1"] == "ok"
    assert told["uplink publishing argo/workflows/status/query"] == "fail"
    assert told["uplink publishing argo/workflows/manage/gw-1"] == "warn"
    assert told["uplink subscription argo/workflows/response/gw-1"] == "ok"
    assert told["uplink subscription argo/workflows/status/gw-1"] == "fail"
    await broker.control("clear_topic_permissions", "gw-1")
