"""`edgeagent doctor --bundle` on real agents, with secrets wherever somebody may have written one."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent

PLANTED = "hunter-SEEDED-"
RULES = f"""
[[rule]]
name = "overheat"
source = "boiler-*"
namespace = "plant"
arguments = {{ temp = "body.temp", site = {{ value = "{PLANTED}constant" }} }}
filters.data = [{{ path = "body.temp", type = "number", comparator = ">=", value = ["0"] }}]
[rule.workflow]
apiVersion = "argoproj.io/v1alpha1"
kind = "Workflow"
spec.entrypoint = "main"
spec.arguments.parameters = [{{ name = "temp" }}, {{ name = "site" }}]
spec.templates = [
  {{ name = "main", container = {{ image = "busybox", env = [{{ name = "DB", value = "{PLANTED}workflow" }}] }} }},
]
"""


WEBHOOK = f"""
url = "http://127.0.0.1:9/services/{PLANTED}path?key={PLANTED}query"
body = '{{"routing_key": "{PLANTED}body", "text": "{{state}}"}}'
"""


def content(path: Path) -> dict[str, str]:
    """The files of a bundle by their names."""
    with tarfile.open(path) as archive:
        return {
            member.name.removeprefix("edgeagent-bundle/"): archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive.getmembers()
        }


def reports_in(directory: Path) -> list[str]:
    return [path.name for path in directory.glob("report*")]


def made(tmp_path: Path, url: str) -> Agent:
    (tmp_path / "uplink.password").write_text(f"{PLANTED}password\n")
    (tmp_path / "http.token").write_text(f"{PLANTED}token\n")
    for name in ("uplink.password", "http.token"):
        (tmp_path / name).chmod(0o600)
    tables = {
        "uplink": f'username = "gw"\npassword_file = "{tmp_path}/uplink.password"',
        "http": f'token_file = "{tmp_path}/http.token"',
        "[relay.webhook]": WEBHOOK,
    }
    return Agent(tmp_path / "agent", url, rules=RULES, tables=tables)


async def test_a_running_agents_bundle_has_everything_but_the_secrets(broker: Mosquitto, tmp_path: Path) -> None:
    async with made(tmp_path, broker.url) as agent:
        await agent.logged("link_up")
        await agent.send("boiler-1", {"temp": 1, "password": f"{PLANTED}event"})
        bundle = tmp_path / "report.tar.gz"
        code, out, err = await agent.command("doctor", "--bundle", str(bundle))
        assert code in {0, 1}, err
        assert str(bundle) in out
        files = content(bundle)
        assert files.keys() == {
            *("README.txt", "config.json", "findings.jsonl", "stats.json", "outbox.json", "log.txt", "versions.json"),
        }
        for name, text in files.items():
            assert PLANTED not in text, name
        assert bundle.stat().st_mode & 0o777 == 0o600
        config = json.loads(files["config.json"])
        assert config["uplink"]["password_file"] == f"{tmp_path}/uplink.password"
        assert config["relay"]["webhook"][0]["url"] == "http://127.0.0.1:9/…"
        assert config["rule"][0]["name"] == "overheat"
        assert config["rule"][0]["arguments"] == {"temp": "body.temp", "site": {"value": "***"}}
        assert "SHA-256" in config["rule"][0]["workflow"]
        assert "event=agent_started" in files["log.txt"]
        assert json.loads(files["stats.json"])["agent"] == "gw-1"
        assert {"uplink", "outbox"} & {json.loads(line)["subject"] for line in files["findings.jsonl"].splitlines()}
        versions = json.loads(files["versions.json"])
        assert versions["packages"]["msgspec"]
        assert versions["mosquitto"].startswith("mosquitto version")

        before = bundle.read_bytes()
        code, _, err = await agent.command("doctor", "--bundle", str(bundle))
        assert (code, bundle.read_bytes()) == (1, before), "nothing is overwritten"
        assert err == f"edgeagent: {bundle}: exists; a bundle is always a new file\n"
        assert reports_in(tmp_path) == ["report.tar.gz"], "nothing is left beside it"


async def test_a_secret_that_came_into_the_log_is_masked_there(broker: Mosquitto, tmp_path: Path) -> None:
    # The id of an event that cannot be decided is quoted in the log: here it is the very password, and a URL with one.
    async with made(tmp_path, broker.url) as agent:
        secrets = f"mqtt://u:{PLANTED}url@broker/{PLANTED}password"
        await agent.send("boiler-1", "ON", Idempotency_Key=secrets)
        await agent.logged("rule_error")
        assert secrets in agent.log
        bundle = tmp_path / "report.tar.gz"
        await agent.command("doctor", "--bundle", str(bundle))
        assert "event=rule_error" in content(bundle)["log.txt"]
        for name, text in content(bundle).items():
            assert PLANTED not in text, name


async def test_a_stopped_agents_bundle_has_what_is_on_the_disk(broker: Mosquitto, tmp_path: Path) -> None:
    agent = made(tmp_path, broker.url)
    await agent.start()
    await agent.send("boiler-1", {"temp": 1})
    assert await agent.stop() == 0
    bundle = tmp_path / "report.tar.gz"
    await agent.command("doctor", "--bundle", str(bundle))
    files = content(bundle)
    assert files.keys() == {"README.txt", "config.json", "findings.jsonl", "outbox.json", "versions.json"}
    assert json.loads(files["outbox.json"])["account"]["accepted"] == 1
    assert all(PLANTED not in text for text in files.values())


async def test_a_directory_that_is_not_there_is_told_in_one_line(broker: Mosquitto, tmp_path: Path) -> None:
    agent = made(tmp_path, broker.url)
    code, _, err = await agent.command("doctor", "--bundle", str(tmp_path / "nowhere" / "report.tar.gz"))
    assert code == 1
    assert err.count("\n") == 1
    assert "No such file or directory" in err
