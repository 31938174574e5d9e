"""Checks of a configuration beyond its types: impossible combinations, bounds, addresses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from edgeagent.common import names
from edgeagent.common.foreign import shown
from edgeagent.config.addresses import is_amqp, is_loopback, split_address, split_broker_url, split_proxy_url
from edgeagent.config.devices import listener_problems, subscription_problems
from edgeagent.config.loops import is_one_broker, own_topic_problems
from edgeagent.config.pubsub import pubsub_problems
from edgeagent.config.tables import (
    AgentConfig,
    Allow,
    Connection,
    DispatcherConfig,
    EngineTable,
    Http,
    Local,
    OutboxTable,
    Relay,
    TracingTable,
    Uplink,
)
from edgeagent.config.workflows import workflow_of_rule_problems
from edgeagent.errors import Problem
from edgeagent.rules.problems import rule_problems
from edgeagent.rules.spec import MAX_RULES, RuleSpec
from edgeagent.wire import topics

# A frame's length has 32 bits, but an event must fit into memory several times over on a gateway with 512 MB.
MAX_EVENT_BYTES_LIMIT = 8 << 20
# The record of triggers released out of order must fit a slot of the cursor file (docs/format.md).
WINDOW_LIMIT = 1000
_MIN_SEGMENT_BYTES = 64 << 10
_MIN_SEGMENTS = 4
_MAX_KEEPALIVE_S = 65535
_MIN_CANARY_INTERVAL_S = 10
_EXACTLY_ONCE = 2
_MAX_SESSION_EXPIRY_S = 0xFFFFFFFF
_MAX_CLIENT_ID_BYTES = 65535
# A dispatcher never has more triggers than this in progress: the broker sends no more before some are acknowledged.
_MAX_CONCURRENT = 256


def agent_problems(config: AgentConfig) -> Iterator[Problem]:
    """Everything wrong in an agent's configuration that its types do not show."""
    if config.agent.id and not names.is_agent_id(config.agent.id):
        yield Problem("agent.id", "must be lower-case letters, digits and '-' inside, at most 63, and not 'query'")
    yield from _connection_problems("uplink", config.uplink)
    yield from _uplink_problems(config.uplink)
    yield from _outbox_problems(config.outbox)
    if config.artifacts is not None:
        from edgeagent.config.artifacts import artifacts_problems  # noqa: PLC0415  costs memory, and few use it

        yield from artifacts_problems(config.artifacts, config.outbox)
    yield from _http_problems(config.http)
    if config.local is not None:
        yield from _connection_problems("local", config.local)
        yield from subscription_problems("local", config.local.subscribe)
        yield from own_topic_problems(config)
        if config.local.client_id == config.uplink.client_id and is_one_broker(config.uplink, config.local):
            yield Problem("local.client_id", "is the uplink's too, on the same broker: they would end each other")
    yield from listener_problems(config)
    yield from _relay_problems(config.relay)
    yield from _tracing_problems(config.tracing)
    yield from _rules_problems(config.rule)
    yield from _output_problems(config)
    yield from _window_problems(config)


def _tracing_problems(table: TracingTable | None) -> Iterator[Problem]:
    if table is not None:
        from edgeagent.config.tracing import tracing_problems  # noqa: PLC0415  as above

        yield from tracing_problems(table)


def _relay_problems(relay: Relay) -> Iterator[Problem]:
    if problem := topics.topic_problem(relay.topic):
        yield Problem("relay.topic", problem)
    elif "{source}" not in relay.topic:
        yield Problem("relay.topic", "must contain {source}")
    elif not relay.topic.startswith("edgeagent/"):
        yield Problem("relay.topic", "must begin with edgeagent/, so that reports never come back as events")
    for key, value in (("status_timeout", relay.status_timeout), ("give_up_after", relay.give_up_after)):
        if value < 1:
            yield Problem(f"relay.{key}", "must be at least 1s: each time the dispatcher is asked")
    if relay.webhook:
        from edgeagent.config.webhooks import relay_webhook_problems  # noqa: PLC0415  as above

        yield from relay_webhook_problems(relay.webhook)


def _rules_problems(rules: Sequence[RuleSpec]) -> Iterator[Problem]:
    if len(rules) > MAX_RULES:
        yield Problem("rule", f"has {len(rules)} tables: a record holds the triggers of {MAX_RULES} rules at most")
        return
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        if rule.name in seen:
            yield Problem(f"rule[{index}].name", f"{rule.name!r} is the name of an earlier rule")
        seen.add(rule.name)
        problems = list(rule_problems(rule))
        if not problems and not rule.workflow_file:  # a file is read, and checked, once everything else is right
            problems = list(workflow_of_rule_problems(rule))
        yield from (Problem(f"rule[{index}].{key}", reason) for key, reason in problems)


def _output_problems(config: AgentConfig) -> Iterator[Problem]:
    if config.uplink.settle == "broker":
        reason = 'needs uplink.settle = "engine": otherwise nothing comes back of a workflow'
        yield from (Problem(f"rule[{index}].outputs", reason) for index, rule in enumerate(config.rule) if rule.outputs)


def _connection_problems(table: str, connection: Connection) -> Iterator[Problem]:
    for key, url in [(f"urls[{index}]", url) for index, url in enumerate(connection.urls)] or [("url", connection.url)]:
        try:
            scheme, _, _ = split_broker_url(url)
        except ValueError as exc:
            yield Problem(f"{table}.{key}", str(exc))
            continue
        if scheme in {"mqtt", "ws", "amqp"} and (connection.ca_file or connection.cert_file):
            text = f"has no TLS ({scheme}://), but ca_file or cert_file is set; use {scheme}s://"
            yield Problem(f"{table}.{key}", text)
    yield from _amqp_problems(table, connection)
    if connection.proxy:
        try:
            split_proxy_url(connection.proxy)
        except ValueError as exc:
            yield Problem(f"{table}.proxy", str(exc))
    if not connection.client_id or len(connection.client_id) > _MAX_CLIENT_ID_BYTES:
        yield Problem(f"{table}.client_id", "must not be empty: the broker keeps the session under it")
    yield from pubsub_problems(table, connection)
    yield from _credential_problems(table, connection)
    yield from _connection_time_problems(table, connection)


def _amqp_problems(table: str, connection: Connection) -> Iterator[Problem]:
    """What has no counterpart over AMQP."""
    found = [is_amqp(address) for address in connection.addresses]
    if not any(found):
        return
    if not all(found):
        yield Problem(f"{table}.urls", "are of different protocols: amqp:// goes with amqp:// and amqps:// only")
    if isinstance(connection, Local):
        yield Problem(f"{table}.url", "devices do not speak AMQP: the local broker's address is mqtt:// or ws://")
    if connection.proxy:
        yield Problem(f"{table}.proxy", "is for MQTT only")
    if not isinstance(connection, Uplink):
        return
    if connection.qos != 1:
        yield Problem("uplink.qos", "must be 1 over AMQP: every message is confirmed, once")
    named = [(key, getattr(connection, key)) for key in ("trigger_topic", "response_topic", "reply_prefix")]
    named += [(f"status_topics[{index}]", topic) for index, topic in enumerate(connection.status_topics)]
    for key, topic in named:
        if "." in topic:
            yield Problem(f"uplink.{key}", "has a dot, which AMQP takes for a '/'")


def _window_problems(config: AgentConfig) -> Iterator[Problem]:
    for index, rule in enumerate(config.rule):
        if rule.window is not None and rule.window.time is not None and rule.window.time >= config.outbox.max_age:
            reason = "must be less than outbox.max_age: its events would expire before it closes"
            yield Problem(f"rule[{index}].window.time", reason)


def _credential_problems(table: str, connection: Connection) -> Iterator[Problem]:
    if bool(connection.cert_file) != bool(connection.key_file):
        yield Problem(f"{table}.cert_file", "cert_file and key_file belong together")
    if connection.key_password_file and not connection.key_file:
        yield Problem(f"{table}.key_password_file", "has no key_file to open")
    if connection.password_file and not connection.username:
        yield Problem(f"{table}.password_file", "needs a username")


def _connection_time_problems(table: str, connection: Connection) -> Iterator[Problem]:
    if not 1 <= connection.keepalive <= _MAX_KEEPALIVE_S:
        yield Problem(f"{table}.keepalive", f"must be 1s to {_MAX_KEEPALIVE_S}s")
    if connection.connect_timeout <= 0:
        yield Problem(f"{table}.connect_timeout", "must be more than 0")
    if not 0 <= connection.session_expiry <= _MAX_SESSION_EXPIRY_S:
        yield Problem(f"{table}.session_expiry", f"must be at most {_MAX_SESSION_EXPIRY_S} seconds")


def _uplink_problems(uplink: Uplink) -> Iterator[Problem]:
    if uplink.qos == 0 and uplink.settle == "broker":
        yield Problem("uplink.qos", '0 with settle = "broker": nothing would ever tell that a trigger arrived')
    elif uplink.qos == _EXACTLY_ONCE and not _resumes_exactly_once(uplink):
        yield Problem(
            "uplink.qos",
            "2 needs MQTT 5 by mqtt:// or mqtts://, and no proxy: elsewhere its handshakes are not resumed",
        )
    yield from _topic_problems(uplink)
    for key, value in (("max_inflight", uplink.max_inflight), ("max_unanswered", uplink.max_unanswered)):
        if not 1 <= value <= WINDOW_LIMIT:
            yield Problem(f"uplink.{key}", f"must be 1 to {WINDOW_LIMIT}")
    if uplink.response_timeout <= 0:
        yield Problem("uplink.response_timeout", "must be more than 0")
    if uplink.canary_interval and uplink.settle == "broker":
        yield Problem(
            "uplink.canary_interval",
            'needs settle = "engine": whatever takes triggers with settle = "broker" sends no answers',
        )
    elif 0 < uplink.canary_interval < _MIN_CANARY_INTERVAL_S:
        yield Problem("uplink.canary_interval", f"must be 0s, for none, or at least {_MIN_CANARY_INTERVAL_S}s")
    if uplink.state_interval < 1:
        yield Problem("uplink.state_interval", "must be at least 1s: each time a message may go out")


def _topic_problems(uplink: Uplink) -> Iterator[Problem]:
    for key in ("trigger_topic", "response_topic", "reply_prefix"):
        if problem := topics.topic_problem(getattr(uplink, key)):
            yield Problem(f"uplink.{key}", problem)
    if not all(uplink.reply_prefix.split("/")):
        yield Problem("uplink.reply_prefix", "must have no empty level, and no '/' at its end")
    for index, topic in enumerate(uplink.status_topics):
        if problem := topics.filter_problem(topic):
            yield Problem(f"uplink.status_topics[{index}]", problem)


def _resumes_exactly_once(uplink: Uplink) -> bool:
    """Whether the engine for this connection resumes QoS 2 handshakes after a reconnect."""
    return (
        uplink.version == "5"
        and not uplink.proxy
        and all(url.startswith(("mqtt://", "mqtts://")) for url in uplink.addresses)
    )


def _outbox_problems(outbox: OutboxTable) -> Iterator[Problem]:
    if outbox.segment_bytes < _MIN_SEGMENT_BYTES:
        yield Problem("outbox.segment_bytes", f"must be at least {_MIN_SEGMENT_BYTES} bytes")
    if outbox.max_bytes < _MIN_SEGMENTS * outbox.segment_bytes:
        yield Problem("outbox.max_bytes", f"must be at least {_MIN_SEGMENTS} x outbox.segment_bytes")
    if not 1 <= outbox.max_event_bytes <= min(MAX_EVENT_BYTES_LIMIT, outbox.segment_bytes // 2):
        yield Problem("outbox.max_event_bytes", "must be at most half of outbox.segment_bytes, and at most 8MiB")
    if outbox.park_after < 1:
        yield Problem("outbox.park_after", "must be at least 1")
    if outbox.dedupe_events < 0:
        yield Problem("outbox.dedupe_events", "must not be negative")
    if outbox.dead_max_bytes < outbox.segment_bytes:
        yield Problem("outbox.dead_max_bytes", "must be at least outbox.segment_bytes")
    if outbox.dead_max_age <= 0:
        yield Problem("outbox.dead_max_age", "must be more than 0")
    if outbox.commit_delay > 1:
        yield Problem("outbox.commit_delay", "must be at most 1s: every acknowledgement waits for it")


def _http_problems(http: Http) -> Iterator[Problem]:
    if http.max_connections < 1:
        yield Problem("http.max_connections", "must be at least 1")
    for index, name in enumerate(http.hosts):
        if not names.is_dns_subdomain(name.lower()):
            yield Problem(f"http.hosts[{index}]", f'{name!r} is not a host name: write "gateway.local", without a port')
    if not http.listen:
        return
    try:
        host, _ = split_address(http.listen)
    except ValueError as exc:
        yield Problem("http.listen", str(exc))
        return
    if not is_loopback(host) and not http.token_file:
        yield Problem("http.listen", f"{host} can be reached from other machines: set http.token_file")


def dispatcher_problems(config: DispatcherConfig) -> Iterator[Problem]:
    """Everything wrong in a dispatcher's configuration that its types do not show."""
    yield from _connection_problems("broker", config.broker)
    for key, text in (("group", config.broker.group), ("instance", config.broker.instance or "host")):
        if not text or any(sign in text for sign in "/#+\0"):
            yield Problem(f"broker.{key}", "must be a text without '/', '#' and '+': it is a level of topics")
    yield from _engine_problems(config.engine)
    if config.engine.kind == "argo":
        yield from _argo_problems(config)
    elif config.status.configmap:
        yield Problem("status.configmap", 'needs engine.kind = "argo": a dry run starts nothing to own a ConfigMap')
    yield from _allow_problems(config.allow)
    yield from _tracing_problems(config.tracing)
    for index, namespace in enumerate(config.status.namespaces):
        if not names.is_dns_label(namespace):
            yield Problem(f"status.namespaces[{index}]", f"must be the name of one namespace, is {namespace!r}")
    if config.webhook:
        from edgeagent.config.webhooks import dispatcher_webhook_problems  # noqa: PLC0415  as above

        yield from dispatcher_webhook_problems(config.webhook)
    if config.http.listen:
        try:
            split_address(config.http.listen)
        except ValueError as exc:
            yield Problem("http.listen", str(exc))


def _allow_problems(allows: Sequence[Allow]) -> Iterator[Problem]:
    for index, allow in enumerate(allows):
        if not allow.namespaces:
            yield Problem(f"allow[{index}].namespaces", 'names none, so it allows nothing; write ["*"] for any')
        if not (allow.templates or allow.cluster_templates or allow.inline or allow.operations):
            reason = "names none, nor do cluster_templates and operations, and inline is false: so it allows nothing"
            yield Problem(f"allow[{index}].templates", reason)


def _engine_problems(engine: EngineTable) -> Iterator[Problem]:
    if bool(engine.cert_file) != bool(engine.key_file):
        yield Problem("engine.cert_file", "cert_file and key_file belong together")
    if not 1 <= engine.max_concurrent <= _MAX_CONCURRENT:
        yield Problem("engine.max_concurrent", f"must be 1 to {_MAX_CONCURRENT}")
    limits = engine.max_active
    for key, most in (limits if isinstance(limits, dict) else {"": limits}).items():
        if most is not None and most < 1:
            path = f"engine.max_active.{shown(key)}" if key else "engine.max_active"
            yield Problem(path, "must be at least 1; leave it out for no limit")


def _argo_problems(config: DispatcherConfig) -> Iterator[Problem]:
    """Problems that matter only if workflows are really started."""
    yield from _engine_url_problems(config.engine)
    if isinstance(config.engine.max_active, dict):
        yield from _limit_problems(config.engine.max_active, config.watched_namespaces)
    if not config.allow:
        yield Problem("allow", 'is missing: kind = "argo" starts nothing that no [[allow]] table allows')
    for index, allow in enumerate(config.allow):
        globs = [name for name in allow.namespaces if "*" in name]
        if globs and not config.status.namespaces:
            reason = f"{globs[0]!r} does not tell which namespaces to watch: name them in [status] namespaces"
            yield Problem(f"allow[{index}].namespaces", reason)
        for name in allow.namespaces:
            if name not in globs and not names.is_dns_label(name):
                yield Problem(f"allow[{index}].namespaces", f"{name!r} cannot be a namespace")


def _limit_problems(max_active: dict[str, int], watched: Sequence[str]) -> Iterator[Problem]:
    for key in max_active:
        path = f"engine.max_active.{shown(key)}"
        namespace, slash, template = key.partition("/")
        if not slash or not namespace or "/" in template:
            yield Problem(path, 'must be NAMESPACE/TEMPLATE, two globs such as "plant/*" or "plant/inspect"')
        elif watched and not any(names.Glob(namespace).matches(name) for name in watched):
            yield Problem(path, f"matches no watched namespace ({', '.join(watched)}), so it limits nothing")


def _engine_url_problems(engine: EngineTable) -> Iterator[Problem]:
    if not engine.url:
        yield Problem("engine.url", 'is missing: kind = "argo" needs the address of the Argo Server')
        return
    try:
        parts = urlsplit(engine.url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # not a port, or an unterminated IPv6 address
        usable = False
    if not usable:
        yield Problem("engine.url", f'{engine.url!r} is not an Argo Server\'s address: write "https://host:2746"')
    elif parts.username is not None or parts.query or parts.fragment:
        yield Problem("engine.url", "only scheme, host, port and path belong in it; use token_file")
    elif parts.scheme == "http" and (engine.ca_file or engine.cert_file or engine.insecure):
        yield Problem("engine.url", "has no TLS (http://), but ca_file, cert_file or insecure is set; use https://")
