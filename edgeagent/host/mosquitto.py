"""The checks of `edgeagent doctor` on the configuration of a Mosquitto on this machine, to which devices publish."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edgeagent.common.finding import Finding, ok, warn
from edgeagent.config.addresses import is_loopback, split_broker_url
from edgeagent.config.tables import Connection

CONFIG = Path("/etc/mosquitto/mosquitto.conf")
_MAX_BYTES = 1 << 20
_MAX_FILES = 100
_KEY = re.compile(r"^[ \t]*(\w+)[ \t]+(.*?)[ \t]*$", re.MULTILINE)


def mosquitto_findings(local: Connection, config: Path = CONFIG) -> Iterator[Finding]:
    """Whether it keeps devices' messages for the agent while the agent is away, and what it loses when killed.

    There are no findings if the local broker is on another machine, or has no configuration file at the usual path.
    """
    if not any(is_loopback(split_broker_url(address)[1]) for address in local.addresses):
        return
    keys = _keys(config)
    if keys is None:
        return
    source = f"by {config}, if the broker runs with it:"
    if keys.get("queue_qos0_messages") == "true":
        yield ok("local Mosquitto", f"{source} messages at QoS 0 are kept for the agent (queue_qos0_messages)")
    else:
        found = f"{source} what devices publish at QoS 0 while the agent is away is lost (queue_qos0_messages)"
        yield warn("local Mosquitto", found, f"add `queue_qos0_messages true` to {config}, or publish at QoS 1")
    most = keys.get("max_queued_messages", "1000")
    if most == "0":
        yield ok("local Mosquitto queue", f"{source} any number of messages is kept while the agent is away")
    else:
        found = f"{source} beyond {most} messages it drops while the agent is away (max_queued_messages)"
        yield warn("local Mosquitto queue", found, f"add `max_queued_messages 0` to {config}")
    if keys.get("set_tcp_nodelay") != "true":
        found = f"{source} small packets are held back for up to 40 ms (set_tcp_nodelay)"
        yield warn("local Mosquitto delay", found, f"add `set_tcp_nodelay true` to {config}")
    kept = f"every {keys.get('autosave_interval', '1800')} s (autosave_interval), and when it stops"
    if keys.get("persistence") == "true":
        text = f"{source} what it holds is written {kept}: killed, it loses what it acknowledged since"
        yield ok("local Mosquitto persistence", f"{text}; events that must not be lost go to the agent by HTTP")
    else:
        found = f"{source} when it stops, what it holds for the agent is lost, acknowledged or not (persistence)"
        yield warn("local Mosquitto persistence", found, f"add `persistence true` to {config}")


def _keys(config: Path) -> dict[str, str] | None:
    """The last value of each key in the file and those of its `include_dir`; None if it cannot be read."""
    text = _text(config)
    if text is None:
        return None
    keys = dict(_KEY.findall(text))
    if directory := keys.get("include_dir"):
        for file in sorted(Path(directory).glob("*.conf"))[:_MAX_FILES]:
            keys.update(_KEY.findall(_text(file) or ""))
    return keys


def _text(file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            return stream.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
