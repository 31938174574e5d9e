"""The configurations that the demo writes, for a real agent and a real dispatcher, into its own directory."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeagent.demo.series import LOSS_BELOW_L_S, SOURCE
from edgeagent.demo.tally import AGENT, RULE

SOCKET = "agent.sock"

_AGENT = """\
# The agent of `edgeagent demo`.
[agent]
id = {agent}
state_dir = {state_dir}

[uplink]
url = "mqtt://127.0.0.1:{line_port}"  # the line that the demo cuts
trigger_topic = "argo/workflows/trigger/{{agent}}"
response_timeout = "5s"
accept_dry_run = true

[http]
listen = "127.0.0.1:{http_port}"
socket = {socket}

[mqtt]
listen = "127.0.0.1:{mqtt_port}"  # where the sensor is

[[mqtt.subscribe]]
topic = {source}

[[rule]]
name = {rule}
source = {source}
namespace = "water"
template = "inspect-leak"
arguments = {{ flow_l_s = "body.flow_l_s", at = "time", sensor = "source" }}
filters.data = [{{ path = "body.flow_l_s", type = "number", comparator = "<", value = ["{threshold:g}"] }}]
"""

_DISPATCHER = """\
# The dispatcher of `edgeagent demo`: it answers like a real one and starts nothing.
[broker]
url = "mqtt://127.0.0.1:{broker_port}"
instance = "demo"

[engine]
kind = "dry-run"

[[allow]]
agents = [{agent}]
namespaces = ["water"]
templates = ["inspect-leak"]
"""


def write_agent(directory: Path, *, line_port: int, http_port: int, mqtt_port: int) -> Path:
    """Write the agent's configuration; returns its path."""
    text = _AGENT.format(
        agent=_quoted(AGENT),
        state_dir=_quoted(str(directory / "state")),
        line_port=line_port,
        http_port=http_port,
        mqtt_port=mqtt_port,
        rule=_quoted(RULE),
        socket=_quoted(str(directory / SOCKET)),
        source=_quoted(SOURCE),
        threshold=LOSS_BELOW_L_S,
    )
    return _write(directory / "config.toml", text)


def write_dispatcher(directory: Path, *, broker_port: int) -> Path:
    """Write the dispatcher's configuration; returns its path."""
    return _write(directory / "dispatch.toml", _DISPATCHER.format(agent=_quoted(AGENT), broker_port=broker_port))


def _quoted(text: str) -> str:
    """A TOML string; JSON's strings have the same form."""
    return msgspec.json.encode(text).decode()


def _write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path
