"""The configuration's tables as Structs: every key, its type and its default (contract section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import msgspec

from edgeagent.common.units import BitRate, Duration, Size
from edgeagent.ports.event_topics import EventSubscription
from edgeagent.rules.spec import RuleSpec
from edgeagent.wire import topics
from edgeagent.wire.operations import Operation


class _Path(str):
    """An absolute path, and how it is `written` in the configuration; "" for none."""

    __slots__ = ("written",)

    written: str

    def __new__(cls, path: object = "", written: str = "") -> Self:
        made = super().__new__(cls, path)
        made.written = written
        return made


class FilePath(_Path):
    """The absolute path of a file named in the configuration, which was found when the configuration was read."""

    __slots__ = ()


class MadePath(_Path):
    """The absolute path of what the agent makes itself; "" for none. A relative one is beside the configuration."""

    __slots__ = ()


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the configuration. `reader.ConfigReader` reports unknown keys as errors."""


class Connection(_Table, frozen=True, kw_only=True):
    """A connection to a broker: the keys that `[uplink]`, `[local]` and `[broker]` share."""

    url: str = ""
    urls: tuple[str, ...] = ()
    version: Literal["5", "3.1.1"] = "5"
    client_id: str = ""
    username: str = ""
    password_file: FilePath = FilePath()
    ca_file: FilePath = FilePath()
    cert_file: FilePath = FilePath()
    key_file: FilePath = FilePath()
    key_password_file: FilePath = FilePath()
    insecure: bool = False
    alpn: str = ""
    proxy: str = ""
    keepalive: Duration = Duration(30)
    connect_timeout: Duration = Duration(10)
    session_expiry: Duration = Duration(7 * 86400)

    @property
    def certificate_files(self) -> tuple[str, ...]:
        """The files from which our certificates are made, and those that we trust."""
        return tuple(file for file in (self.ca_file, self.cert_file, self.key_file, self.key_password_file) if file)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The broker's addresses as URLs, in the order in which to try them."""
        return self.urls or (self.url,)


class CloudConnection(Connection, frozen=True, kw_only=True):
    """A connection to the broker between agents and dispatchers: the keys that `[uplink]` and `[broker]` share.

    `subscription`, `credentials_file` and `token_file` are for `pubsub://` only. `subscription`: what is pulled from;
    "" for none. `credentials_file`: a service account's key; `token_file`: a token that another program renews; without
    either the metadata server is asked.
    """

    subscription: str = ""
    credentials_file: FilePath = FilePath()
    token_file: FilePath = FilePath()


class Uplink(CloudConnection, frozen=True, kw_only=True):
    """`[uplink]`: the broker in the cloud, and how triggers are forwarded to it."""

    url: str = "mqtt://127.0.0.1:1883"
    client_id: str = "edgeagent-{agent}-up"
    qos: Literal[0, 1, 2] = 1
    settle: Literal["engine", "broker"] = "engine"
    trigger_topic: str = topics.TRIGGER
    response_topic: str = topics.RESPONSE + "/{agent}"
    status_topics: tuple[str, ...] = (topics.STATUS + "/{agent}",)
    reply_prefix: str = topics.RESPONSE
    max_inflight: int = 100
    max_unanswered: int = 100
    response_timeout: Duration = Duration(60)
    accept_dry_run: bool = False
    state_interval: Duration = Duration(300)
    canary_interval: Duration = Duration(0)  # 0: no canaries
    report: bool = False


class Local(Connection, frozen=True, kw_only=True):
    """`[local]`: the broker that devices publish to."""

    url: str = "mqtt://127.0.0.1:1883"
    client_id: str = "edgeagent-{agent}-local"
    subscribe: list[EventSubscription] = []


class MqttAllow(_Table, frozen=True, kw_only=True):
    """`[[mqtt.allow]]`: which topics users of the listener may publish and subscribe to.

    `users` are globs, `*` is also who gave no name; `publish` and `subscribe` are topic filters with `{user}` and
    `{client}`.
    """

    users: tuple[str, ...] = ("*",)
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


class Mqtt(_Table, frozen=True, kw_only=True):
    """`[mqtt]`: the agent's own listener, to which devices connect straight."""

    listen: str | tuple[str, ...] = "127.0.0.1:1883"
    users_file: FilePath = FilePath()
    ca_file: FilePath = FilePath()
    cert_file: FilePath = FilePath()
    key_file: FilePath = FilePath()
    key_password_file: FilePath = FilePath()
    max_connections: int = 1000
    max_packet: Size = Size(1 << 20)
    max_retained: int = 10_000
    retained_bytes: Size = Size(8 << 20)
    session_queue: int = 100
    subscribe: list[EventSubscription] = []
    allow: list[MqttAllow] = []

    @property
    def listeners(self) -> tuple[str, ...]:
        """The addresses to listen on, as they are written."""
        return (self.listen,) if isinstance(self.listen, str) else self.listen

    @property
    def events(self) -> Sequence[EventSubscription]:
        """Which topics are events: what is configured, else those below `events/`."""
        return self.subscribe or (EventSubscription(topic=topics.EVENTS, source="{1}"),)


class AgentTable(_Table, frozen=True, kw_only=True):
    """`[agent]`: the agent's identity and its state directory."""

    id: str = ""  # "": the host's name at the first start, then kept in the state directory
    # "": $STATE_DIRECTORY, else /var/lib/edgeagent as root, else $XDG_STATE_HOME/edgeagent
    state_dir: MadePath = MadePath()


class OutboxTable(_Table, frozen=True, kw_only=True):
    """`[outbox]`: the limits of what is stored on disk."""

    max_bytes: Size = Size(256 << 20)
    when_full: Literal["refuse", "drop_oldest"] = "refuse"
    max_age: Duration = Duration(30 * 86400)
    segment_bytes: Size = Size(8 << 20)
    commit_delay: Duration = Duration(0)
    max_event_bytes: Size = Size(256 << 10)
    park_after: int = 20
    dedupe_events: int = 10_000
    dead_max_bytes: Size = Size(64 << 20)
    dead_max_age: Duration = Duration(90 * 86400)
    dead_when_full: Literal["park", "refuse", "drop_oldest"] = "park"


class BandwidthSpan(_Table, frozen=True, kw_only=True, rename={"start": "from", "stop": "to"}):
    """A time of day with a bandwidth of its own, from `start` until just before `stop`, also over midnight."""

    start: str
    stop: str
    rate: BitRate


class ArtifactsTable(_Table, frozen=True, kw_only=True):
    """`[artifacts]`: the store of large data, how it is reached, and how fast it may be filled.

    `bandwidth`: None for no limit; 0 for no uploads. `bandwidth_at`: another one at these times of day.
    """

    store: str
    inline_max: Size = Size(64 << 10)
    max_bytes: Size = Size(1 << 30)
    bandwidth: BitRate | None = None
    bandwidth_at: list[BandwidthSpan] = []
    timezone: str = ""
    public_url: str = ""
    presign_url: str = ""
    username: str = ""
    password_file: FilePath = FilePath()
    token_file: FilePath = FilePath()
    access_key_file: FilePath = FilePath()
    endpoint: str = ""
    region: str = ""
    ca_file: FilePath = FilePath()
    cert_file: FilePath = FilePath()
    key_file: FilePath = FilePath()


class Http(_Table, frozen=True, kw_only=True):
    """`[http]`: the agent's HTTP listener and its Unix socket."""

    listen: str = "127.0.0.1:8745"  # "": no listener
    socket: MadePath = MadePath()  # "": agent.sock in $RUNTIME_DIRECTORY, else in the state directory
    token_file: FilePath = FilePath()
    hosts: tuple[str, ...] = ()  # names of this machine that callers write in Host, besides the address in `listen`
    max_connections: int = 64
    stop_triggers: bool = False  # whether devices may stop the workflows of triggers
    page: bool = True  # the status page, and what it needs of the operator's calls


class WebhookTable(_Table, frozen=True, kw_only=True):
    """A receiver of POST requests: the keys that `[[relay.webhook]]` and the dispatcher's `[[webhook]]` share.

    `states`: () for all. `body`: "" for the report itself, else JSON with names in braces (`wire.webhook_body`).
    """

    url: str
    states: tuple[str, ...] = ()
    body: str = ""
    secret_file: FilePath = FilePath()
    ca_file: FilePath = FilePath()
    allow_hosts: tuple[str, ...] = ()


class RelayWebhook(WebhookTable, frozen=True, kw_only=True):
    """`[[relay.webhook]]`: who is posted the reports about which triggers. `source` and `rule` are globs."""

    source: str = "*"
    rule: str = "*"


class Relay(_Table, frozen=True, kw_only=True):
    """`[relay]`: how reports are published to devices, and to whom they are posted."""

    topic: str = "edgeagent/status/{source}"
    retain: bool = True
    status_timeout: Duration = Duration(3600)
    give_up_after: Duration = Duration(86400)
    webhook: list[RelayWebhook] = []


class LogTable(_Table, frozen=True, kw_only=True):
    """`[log]`: the level and format of log lines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "journal", "text", "json"] = "auto"


class TracingTable(_Table, frozen=True, kw_only=True):
    """`[tracing]`: where spans are told. `sample`: the part of the traces, 0 to 1. `headers_file`: one on a line."""

    endpoint: str
    sample: float = 1.0
    headers_file: FilePath = FilePath()
    ca_file: FilePath = FilePath()


class AgentConfig(_Table, frozen=True, kw_only=True):
    """The whole of `config.toml`."""

    agent: AgentTable = AgentTable()
    uplink: Uplink = Uplink()
    outbox: OutboxTable = OutboxTable()
    artifacts: ArtifactsTable | None = None
    http: Http = Http()
    local: Local | None = None
    mqtt: Mqtt | None = None
    relay: Relay = Relay()
    rule: list[RuleSpec] = []
    tracing: TracingTable | None = None
    log: LogTable = LogTable()

    @property
    def inline_bytes(self) -> int | None:
        """Data up to this size stays in its trigger; None: all data does."""
        return int(self.artifacts.inline_max) if self.artifacts is not None else None


class Broker(CloudConnection, frozen=True, kw_only=True):
    """`[broker]` of the dispatcher: its connection and its group.

    `answer_topic`: the Pub/Sub topic of answers and statuses, for `pubsub://` only.
    """

    url: str = "mqtt://127.0.0.1:1883"
    client_id: str = "edgeagent-dispatch-{instance}"
    session_expiry: Duration = Duration(60)
    instance: str = ""  # "": the host's name
    group: str = "edgeagent"
    answer_topic: str = ""


class EngineTable(_Table, frozen=True, kw_only=True):
    """`[engine]` of the dispatcher. `kind` has no default: whether workflows are started must be stated.

    `max_active`: the limit of each namespace, or those of keys NAMESPACE/TEMPLATE, both globs; None: no limit.
    """

    kind: Literal["dry-run", "argo"]
    url: str = ""
    token_file: FilePath = FilePath()
    ca_file: FilePath = FilePath()
    cert_file: FilePath = FilePath()
    key_file: FilePath = FilePath()
    insecure: bool = False
    max_concurrent: int = 16
    max_active: int | dict[str, int] | None = None
    bind_agent: bool = True


class Allow(_Table, frozen=True, kw_only=True):
    """`[[allow]]`: who may start what. The first four members are lists of globs.

    `labels`: globs of the labels that a workflow from a template may have. `operations`: what these agents may do to
    their workflows in these namespaces; with "" among `agents`, what may be done to every workflow there by a message
    that names no agent.
    """

    agents: tuple[str, ...] = ("*",)
    namespaces: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    cluster_templates: tuple[str, ...] = ()
    inline: bool = False
    expressions: bool = False
    service_account: str = ""
    labels: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()


class StatusTable(_Table, frozen=True, kw_only=True):
    """`[status]` of the dispatcher: which namespaces' statuses are published, and whether ConfigMaps are written."""

    namespaces: tuple[str, ...] = ()
    configmap: bool = False


class DispatcherWebhook(WebhookTable, frozen=True, kw_only=True):
    """`[[webhook]]` of the dispatcher: who is posted the statuses of which workflows. `agent`, `namespace`: globs.

    `agent` is "" in the status of a workflow that no gateway started. `give_up_after`: for so long the point from which
    a new leader begins waits for a status that the receiver does not take.
    """

    agent: str = "*"
    namespace: str = "*"
    give_up_after: Duration = Duration(3600)


class ProbeHttp(_Table, frozen=True, kw_only=True):
    """`[http]` of the dispatcher: the probes only, which reveal nothing but its health."""

    listen: str = ""  # "": no listener


class DispatcherConfig(_Table, frozen=True, kw_only=True):
    """The whole of `dispatch.toml`."""

    broker: Broker = Broker()
    engine: EngineTable
    allow: list[Allow] = []
    status: StatusTable = StatusTable()
    webhook: list[DispatcherWebhook] = []
    http: ProbeHttp = ProbeHttp()
    tracing: TracingTable | None = None
    log: LogTable = LogTable()

    @property
    def manages(self) -> bool:
        """Whether any `[[allow]]` lets workflows be managed by message."""
        return any(allow.operations for allow in self.allow)

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        """The namespaces whose workflows are watched, sorted: those in `[status]`, and in `[[allow]]` if not globs.

        A glob names no namespace to watch; the checks require a list in `[status]` if `[[allow]]` has one.
        """
        spelled = {name for allow in self.allow for name in allow.namespaces if "*" not in name}
        return tuple(sorted(spelled.union(self.status.namespaces)))
