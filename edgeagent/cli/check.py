"""`edgeagent check`: is a configuration valid, what does it mean, and what would its rules do?"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator

from edgeagent.cli import replay
from edgeagent.cli.check_large import large_data, large_data_notes
from edgeagent.cli.options import add_config, add_json, say, say_json
from edgeagent.config import agent_config_path, dispatcher_config_path, load_agent, load_dispatcher
from edgeagent.config.addresses import ListenAddress, is_amqp, is_loopback, is_pubsub, split_listener
from edgeagent.config.devices import listener_warnings
from edgeagent.config.loops import topic_warnings
from edgeagent.config.tables import AgentConfig, Allow, Connection, DispatcherConfig, Mqtt
from edgeagent.config.workflows import config_notes
from edgeagent.mqtt import engines
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import RuleSpec
from edgeagent.wire.messages import MAX_TRIGGER_BYTES
from edgeagent.wire.topics import AGENTS_TRIGGER, ON_THE_BASE_TOPIC, TRIGGER, UNBOUND_AGENTS, is_unbound
from edgeagent.workflows.placeholders import is_placeholder, placeholders

# An event of this size fits into a trigger as base64, together with its workflow.
_MAX_TAKEN_BYTES = MAX_TRIGGER_BYTES * 3 // 4 - (64 << 10)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="check a configuration",
        description="Check a configuration: every problem is reported at once, and nothing is started.",
    )
    add_config(parser)
    parser.add_argument("--dispatch", action="store_true", help="it is a dispatcher's configuration")
    add_json(parser)
    replay.add_arguments(parser)
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Check and print the findings.

    Raises:
        ConfigError: with every problem found.
        CommandFailed: the events of a rehearsal cannot be read.
    """
    if problem := replay.misuse(args):
        args.parser.error(problem)
    path = dispatcher_config_path(args.config) if args.dispatch else agent_config_path(args.config)
    config = load_dispatcher(path) if args.dispatch else load_agent(path)
    if args.replay is not None and isinstance(config, AgentConfig):
        replay.run(args, path, config)
        return 0
    if args.json:
        say_json({"file": str(path), "ok": True})
        return 0
    say(f"{path}: ok")
    for line in _dispatcher(config) if isinstance(config, DispatcherConfig) else _agent(config):
        say(f"  {line}")
    return 0


def _agent(config: AgentConfig) -> list[str]:
    uplink = config.uplink
    lines = [f"uplink    {', '.join(uplink.addresses)} as {uplink.client_id}, triggers on {uplink.trigger_topic}"]
    lines += _engines("uplink", uplink)
    if config.local is not None:
        topics = ", ".join(subscription.topic for subscription in config.local.subscribe) or "no subscriptions"
        lines.append(f"local     {', '.join(config.local.addresses)}: {topics}")
        lines += _engines("local", config.local)
    lines += _listener(config.mqtt)
    lines.append(f"http      {config.http.listen or 'the Unix socket only'}")
    when_full = "events are refused" if config.outbox.when_full == "refuse" else "the oldest triggers are dropped"
    lines.append(f"outbox    at most {config.outbox.max_bytes / (1 << 20):.0f} MiB, then {when_full}")
    lines += large_data(config)
    for rule in config.rule:
        target = rule.template or rule.workflow_file or "its own workflow"
        terms = "".join(f", {term}" for term in _terms(rule))
        state = "" if rule.enabled else " (not enabled)"
        lines.append(
            f"rule      {rule.name}: {rule.source} ({rule.type}) starts {rule.namespace}/{target}{terms}{state}"
        )
    lines += [line for rule in config.rule for line in _constants(rule)]
    if uplink.settle == "engine":
        lines += [line for rule in config.rule for line in _labels(rule)]
    lines += [
        f"WARN: {problem.path}: {problem.reason}" for problem in (*topic_warnings(config), *listener_warnings(config))
    ]
    if problem := engines.qos_problem(uplink):
        lines.append(f"WARN: {problem.path}: {problem.reason}; an agent on this machine does not start")
    if uplink.settle == "engine" and config.outbox.max_event_bytes > _MAX_TAKEN_BYTES:
        lines.append(
            "WARN: outbox.max_event_bytes: `edgeagent dispatch` takes triggers of at most "
            f"{MAX_TRIGGER_BYTES >> 10} KiB: events over about {_MAX_TAKEN_BYTES >> 10} KiB may end as dead letters"
        )
    lines += _limits("uplink", uplink, uplink.settle == "broker")
    if uplink.settle == "engine" and is_unbound(uplink.trigger_topic):
        lines.append(
            f"warning: uplink.trigger_topic: a dispatcher with bind_agent = true (the default) refuses what does not "
            f'come on "{AGENTS_TRIGGER}"'
        )
    if config.local is not None:
        lines += _limits("local", config.local)
    if uplink.settle == "engine" and uplink.trigger_topic == TRIGGER:
        lines.append(f"note: uplink.trigger_topic: {ON_THE_BASE_TOPIC}")
    lines += [f"note: {note.path}: {note.reason}" for note in config_notes(config)]
    lines += [f"note: {note}" for note in large_data_notes(config)]
    if not any(rule.enabled for rule in config.rule):
        lines.append("warning: no rule is enabled: every event is acknowledged and forgotten")
    return lines


def _listener(mqtt: Mqtt | None) -> Iterator[str]:
    """Where devices connect to, who may, and what of theirs is an event."""
    if mqtt is None:
        return
    for listen in mqtt.listeners:
        yield f"mqtt      {listen}: devices come in {_ways_in(mqtt, split_listener(listen))}"
    yield f"mqtt      events are on {', '.join(subscription.topic for subscription in mqtt.events)}"
    if not mqtt.allow:
        yield "mqtt      without [[mqtt.allow]] a device may publish every event, and read the status of its own"
    for allow in mqtt.allow:
        may = [f"{word} {', '.join(found)}" for word in ("publish", "subscribe") if (found := getattr(allow, word))]
        yield f"mqtt      {', '.join(allow.users)} may {' and '.join(may)}"


def _ways_in(mqtt: Mqtt, address: ListenAddress) -> str:
    """Who is let in there (`listener.access.admission`)."""
    ways = ["by name and password"] if mqtt.users_file else []
    if address.is_tls and mqtt.ca_file:
        ways.append("by certificate")
    if is_loopback(address.host):
        ways.append("without any name, as they are on this machine" if mqtt.users_file else "without a password")
    return " or ".join(ways)


def _constants(rule: RuleSpec) -> Iterator[str]:
    """Warnings about `{{` in the rule's own parameter values, where a dispatcher looks for it."""
    compiled = Rule(rule)
    constants = [argument.constant for argument in compiled.parameters.arguments]
    found = list(placeholders(compiled.workflow("", {}, {}, constants)))
    found += [
        f"parameters[{index}]"
        for index, parameter in enumerate(rule.parameters)
        if parameter.dest.startswith("spec.arguments.") and is_placeholder(parameter.src.value or "")
    ]
    if found:
        refused = "a dispatcher refuses that without [[allow]] expressions = true"
        yield f"warning: rule {rule.name}: {found[0]} has '{{{{' in its value; {refused}"


def _labels(rule: RuleSpec) -> Iterator[str]:
    """A note about labels that a dispatcher passes on only where it is told to."""
    prefix = "metadata.labels."
    found = [parameter.dest[len(prefix) :] for parameter in rule.parameters if parameter.dest.startswith(prefix)]
    names = [*rule.labels, *found]
    if names and rule.template:
        told = ", ".join(name.replace("\\.", ".") for name in names)
        refused = "a dispatcher refuses those that its [[allow]] labels do not name"
        yield f"note: rule {rule.name}: sets the labels {told}: {refused}"


def _terms(rule: RuleSpec) -> Iterator[str]:
    """What keeps a rule from starting a workflow for every event that it matches (docs/field.md)."""
    if rule.window is not None:
        whose = "a source" if rule.window.by == "source" else "all sources"
        yield f"one for {rule.window.count} events of {whose} or {rule.window.time:g} s"
    if rule.rate is not None:
        yield f"at most {rule.rate.count} in {rule.rate.time:g} s, others wait"
    if rule.throttle is not None:
        yield f"at most one in {rule.throttle:g} s for a source"
    if rule.rearm is not None:
        yield "again only after rearm held"
    if rule.coalesce:
        yield "of several not yet sent only the newest"


def _dispatcher(config: DispatcherConfig) -> list[str]:
    lines = [f"broker    {', '.join(config.broker.addresses)}, group {config.broker.group}"]
    lines += _engines("broker", config.broker)
    lines.append(f"engine    {config.engine.kind}")
    lines += _most_active(config.engine.max_active)
    if not config.engine.bind_agent:
        lines.append(f"warning: engine.bind_agent = false: {UNBOUND_AGENTS}")
    lines += _limits("broker", config.broker)
    if config.broker.version != "5" and not is_amqp(config.broker.addresses[0]):
        lines.append(
            "WARN: [broker] version 3.1.1 has no shared subscriptions, which dispatchers take triggers by: Mosquitto "
            "has them all the same, RabbitMQ grants them and delivers nothing: reach it by amqp://; "
            "`edgeagent doctor --dispatch` tries it"
        )
    for allow in config.allow:
        whose = f"agents {', '.join(allow.agents)} in {', '.join(allow.namespaces)}"
        lines.append(f"allow     {whose}: {', '.join(_allowed(allow))}")
        if allow.labels:
            lines.append(f"allow     {whose}: labels {', '.join(allow.labels)}")
        if allow.operations:
            lines.append(f"allow     {whose}: to {', '.join(allow.operations)} workflows by message")
    if not config.allow:
        lines.append("warning: nothing is restricted ([[allow]]); a dry run starts nothing")
    return lines


def _most_active(limits: int | dict[str, int] | None) -> Iterator[str]:
    """How many unfinished workflows there may be."""
    if isinstance(limits, int):
        yield f"engine    unfinished workflows in each namespace: at most {limits}, then triggers wait"
    for key, limit in limits.items() if isinstance(limits, dict) else ():
        yield f"engine    unfinished workflows of {key} together: at most {limit}, then triggers wait"


def _allowed(allow: Allow) -> Iterator[str]:
    """What may be started."""
    yield from allow.templates
    yield from (f"{name} of the cluster" for name in allow.cluster_templates)
    if allow.inline:
        yield "any workflow of the sender's own"


def _engines(table: str, connection: Connection) -> list[str]:
    """The MQTT engine that is used on this machine, or another protocol and what it lacks."""
    if is_amqp(connection.addresses[0]):
        lost = "no retained messages and no last will: nobody is told when this machine is cut off"
        return [f"{table:<9} by AMQP 0-9-1, which has {lost}"]
    if is_pubsub(connection.addresses[0]):
        return [f"{table:<9} by Google Pub/Sub's REST API, which has no retained messages and no last will"]
    return [f"{table:<9} by the MQTT engine {choice}" for choice in engines.choices(connection)]


def _limits(table: str, connection: Connection, settled_by_broker: bool = False) -> list[str]:
    """The limits of this connection to a broker (docs/mqtt-3.1.1.md)."""
    lines = []
    if connection.version != "5" and not is_amqp(connection.addresses[0]):
        loss = "is then lost" if settled_by_broker else "is only seen because no answer comes"
        lines.append(
            f"WARN: [{table}] version 3.1.1 cannot tell that the broker refused a message or that nobody subscribed to "
            f"it: such a message {loss}"
        )
    if connection.proxy and importlib.util.find_spec("socks") is None:
        lines.append(f"WARN: [{table}] proxy needs PySocks, which is missing: install edgeagent[proxy]")
    return lines
