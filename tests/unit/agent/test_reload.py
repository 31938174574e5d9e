"""`agent.reload`: what a reload takes over, what it only tells, and what it refuses."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edgeagent.agent.counts import RuleCounts
from edgeagent.agent.reload import Reloader
from edgeagent.config import load_agent
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import ConfigError
from edgeagent.events.event import Draft
from edgeagent.rules.ruleset import RuleSet
from tests.waiting import DEADLINE_S, until

pytestmark = pytest.mark.virtual_time

EVENT = Draft(source="boiler-1", data=b'{"temp": 91}', is_json=True)


def rule(name: str, threshold: int = 90, more: str = "") -> str:
    condition = f'{{ path = "body.temp", type = "number", comparator = ">=", value = ["{threshold}"] }}'
    target = 'namespace = "plant"\ntemplate = "inspect"'
    return f'[[rule]]\nname = "{name}"\n{target}\nfilters.data = [{condition}]\n{more}\n'


class Scene:
    """A configuration file, the rules of a running agent, and what would reload them."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.write(text)
        config = load_agent(path)
        self.rules = RuleSet(config.rule)
        self.counts = {each.name: RuleCounts() for each in self.rules}
        self.reloader = Reloader(path, config, self.rules, self.counts)

    def write(self, text: str) -> None:
        """Change the file."""
        self.path.write_text(text, "utf-8")

    def matching(self) -> tuple[str, ...]:
        """The rules that match an event of 91 degrees."""
        return self.rules.match(EVENT).rules


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "config.toml", rule("hot") + rule("warm", 50))


async def test_a_reload_tells_what_is_new_different_and_gone(scene: Scene) -> None:
    assert scene.matching() == ("hot", "warm")
    scene.write(rule("fresh") + rule("hot", 95))
    told = await scene.reloader.reload()
    assert (told.rules, told.added, told.changed, told.removed) == (2, ("fresh",), ("hot",), ("warm",))
    assert scene.matching() == ("fresh",), "the same set that the agent's parts hold"
    assert scene.rules.get("warm") is None
    again = await scene.reloader.reload()
    assert (again.rules, again.added, again.changed, again.removed) == (2, (), (), ())


async def test_what_a_rule_counted_is_kept_and_a_new_one_begins_at_zero(scene: Scene) -> None:
    scene.counts["warm"].matched = 7
    scene.write(rule("fresh"))
    await scene.reloader.reload()
    assert scene.counts["warm"].matched == 7
    assert scene.counts["fresh"] == RuleCounts()
    scene.write(rule("warm"))
    await scene.reloader.reload()
    assert scene.counts["warm"].matched == 7


class Taking:
    """A `Reloadable` that notes what it takes over, and refuses while `error` is set."""

    def __init__(self) -> None:
        self.error: ConfigError | None = None
        self.taken: list[AgentConfig] = []

    async def prepare(self, config: AgentConfig) -> Callable[[], None]:
        """See `Reloadable`."""
        if self.error is not None:
            raise self.error
        return lambda: self.taken.append(config)


async def test_what_the_listener_takes_over_needs_no_restart_and_what_it_refuses_changes_nothing(
    scene: Scene,
) -> None:
    listener, mqtt = Taking(), '[mqtt]\nlisten = "127.0.0.1:1884"\n'
    scene.write(mqtt + rule("hot"))
    scene.reloader = Reloader(scene.path, load_agent(scene.path), scene.rules, scene.counts, listener)
    scene.write(mqtt + 'max_connections = 7\n[[mqtt.allow]]\npublish = ["#"]\n' + rule("hot"))
    assert (await scene.reloader.reload()).restart == ()
    assert [config.mqtt.max_connections for config in listener.taken if config.mqtt is not None] == [7]
    listener.error = ConfigError("users", [])
    scene.write(mqtt + rule("fresh"))
    with pytest.raises(ConfigError):
        await scene.reloader.reload()
    assert scene.rules.get("fresh") is None
    listener.error = None
    scene.write(mqtt.replace("1884", "1885") + "max_packet = 3000000\n" + rule("hot"))
    assert (await scene.reloader.reload()).restart == ("mqtt",)
    scene.write(rule("hot"))
    assert (await scene.reloader.reload()).restart == ("mqtt",)


async def test_a_disabled_rule_is_a_removed_one(scene: Scene) -> None:
    scene.write(rule("hot") + rule("warm", 50, "enabled = false"))
    assert (await scene.reloader.reload()).removed == ("warm",)
    assert scene.matching() == ("hot",)


async def test_a_workflow_file_that_changed_is_a_changed_rule(tmp_path: Path) -> None:
    workflow = tmp_path / "w.json"
    workflow.write_text('{"spec": {"workflowTemplateRef": {"name": "one"}}}')
    text = '[[rule]]\nname = "own"\nnamespace = "plant"\nworkflow_file = "w.json"\n'
    scene = Scene(tmp_path / "config.toml", text)
    workflow.write_text('{"spec": {"workflowTemplateRef": {"name": "two"}}}')
    assert (await scene.reloader.reload()).changed == ("own",)


async def test_a_mistake_is_refused_with_every_problem_and_nothing_changes(scene: Scene) -> None:
    scene.write(rule("fresh") + rule("Bad Name") + '[outbox]\npark_after = 0\n[nonsense]\nx = "y"\n')
    with pytest.raises(ConfigError) as caught:
        await scene.reloader.reload()
    assert {problem.path for problem in caught.value.problems} >= {"nonsense"}
    scene.write(rule("fresh") + rule("Bad Name") + "[outbox]\npark_after = 0\n")
    with pytest.raises(ConfigError) as caught:
        await scene.reloader.reload()
    assert {problem.path for problem in caught.value.problems} == {"rule[1].name", "outbox.park_after"}
    assert scene.matching() == ("hot", "warm")
    assert "fresh" not in scene.counts


async def test_other_tables_are_told_against_what_the_agent_was_started_with(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    changed = rule("hot") + '[uplink]\nurl = "mqtt://broker.example"\n[log]\nlevel = "debug"\n'
    scene.write(changed)
    assert (await scene.reloader.reload()).restart == ("uplink", "log")
    assert "needs a restart: [uplink], [log]" in caplog.text
    assert (await scene.reloader.reload()).restart == ("uplink", "log"), "still so, as nothing was restarted"
    scene.write(rule("hot"))
    assert (await scene.reloader.reload()).restart == ()


async def test_sighup_with_a_file_that_is_gone_is_logged_and_the_next_one_works(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    asked = asyncio.Event()
    caplog.set_level(logging.INFO)
    running = asyncio.create_task(scene.reloader.run(asked))
    scene.path.unlink()
    asked.set()
    await until(lambda: "refused" in caplog.text, "a refusal", seen=lambda: caplog.text)
    assert "no such file" in caplog.text
    assert scene.matching() == ("hot", "warm")
    scene.write(rule("fresh"))
    asked.set()
    await until(lambda: scene.matching() == ("fresh",), "the new rules", seen=scene.matching)
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize("text", [rule("fresh"), "no toml"])
async def test_systemd_hears_of_the_reload_and_that_the_agent_is_ready_again_even_when_it_is_refused(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        scene.write(text)
        await asyncio.gather(scene.reloader.reload(), return_exceptions=True)
        assert manager.recv(1024).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(1024) == b"READY=1"
