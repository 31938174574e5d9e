from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeagent import config
from edgeagent.config import load_agent
from edgeagent.config.checks import agent_problems
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import ConfigError
from edgeagent.outbox.frame import MAX_COUNT
from edgeagent.rules.spec import RuleSpec
from tests.profiles import examples

ROOT = Path(__file__).parents[3]
RULE = '[[rule]]\nname = "r"\nnamespace = "plant"\ntemplate = "t"\n'
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def problems(path: Path, env: dict[str, str] | None = None) -> dict[str, str]:
    """What an agent's configuration is refused for: reason by key path."""
    with pytest.raises(ConfigError) as caught:
        load_agent(path, env or {})
    return dict(caught.value.problems)


def test_an_empty_file_is_a_configuration_with_every_default(write: Write) -> None:
    assert load_agent(write(""), {}) == AgentConfig()


def test_what_the_agent_makes_is_beside_the_configuration_wherever_a_command_is_called_from(write: Write) -> None:
    path = write('[agent]\nstate_dir = "state"\n[http]\nsocket = "/run/a.sock"\n')
    read = load_agent(path, {})
    assert (read.agent.state_dir, read.http.socket) == (str(path.parent / "state"), "/run/a.sock")
    assert load_agent(write(""), {}).agent.state_dir == ""
    assert problems(write("[agent]\nstate_dir = 7\n")) == {"agent.state_dir": "must be a path"}


def test_durations_and_sizes_are_read_in_every_form(write: Write) -> None:
    text = '[uplink]\nkeepalive = "1m"\nresponse_timeout = 5\n[outbox]\nmax_bytes = "1GiB"\nsegment_bytes = 1048576\n'
    read = load_agent(write(text), {})
    assert [float(read.uplink.keepalive), float(read.uplink.response_timeout)] == [60, 5]
    assert [int(read.outbox.max_bytes), int(read.outbox.segment_bytes)] == [1 << 30, 1 << 20]


def test_toml_1_1_is_read(write: Write) -> None:
    text = '[[rule]]\nname = "r"\nnamespace = "plant"\ntemplate = "t"\narguments = {\n  temp = "body.temp",\n}\n'
    assert load_agent(write(text), {}).rule[0].arguments == {"temp": "body.temp"}


def test_several_addresses_take_the_place_of_the_one(write: Write) -> None:
    read = load_agent(write('[uplink]\nurls = ["mqtts://a", "mqtts://b"]\n'), {})
    assert read.uplink.addresses == ("mqtts://a", "mqtts://b")


def test_without_a_local_table_there_is_no_local_broker(write: Write) -> None:
    assert load_agent(write(""), {}).local is None
    local = load_agent(write("[local]\n"), {}).local
    assert local is not None
    assert local.client_id == "edgeagent-{agent}-local"


def test_all_problems_are_found_at_once_and_each_names_its_key(write: Write) -> None:
    text = (
        '[uplink]\nkeepalive = "soon"\nqos = "1"\nclient = "x"\n'
        '[outbox]\nmax_bytes = "lots"\nmax_age = -1\n'
        "[[rule]]\nname = 7\n"
        "[nonsense]\n"
    )
    found = problems(write(text))
    assert list(found) == [
        "nonsense",
        "uplink.client",
        "uplink.keepalive",
        "uplink.qos",
        "outbox.max_bytes",
        "outbox.max_age",
        "rule[0].name",
        "rule[0].namespace",
    ]
    assert 'write "30s"' in found["uplink.keepalive"]
    assert 'write "64KiB"' in found["outbox.max_bytes"]
    assert "known here: url," in found["uplink.client"]
    assert found["rule[0].namespace"] == "is missing"


def test_the_error_is_one_line_with_file_key_and_reason(write: Write) -> None:
    path = write('[uplink]\nkeepalive = "soon"\n[log]\nlevel = "loud"\n')
    with pytest.raises(ConfigError) as caught:
        load_agent(path, {})
    assert caught.value.exit_code == 78
    assert str(caught.value).startswith(f"{path}: uplink.keepalive: ")
    assert f"; {path}: log.level: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_impossible_combinations_are_all_found_at_once(write: Write) -> None:
    text = '[uplink]\nqos = 0\nsettle = "broker"\n[outbox]\nmax_bytes = "1MiB"\n[http]\nlisten = "0.0.0.0:80"\n'
    assert list(problems(write(text))) == ["uplink.qos", "outbox.max_bytes", "http.listen"]


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ('agent = "gw"\n', "agent", "must be a table, is a string"),
        ("rule = 1\n", "rule", "must be an array of tables ([[rule]]), is an integer"),
        ("rule = [1]\n", "rule[0]", "must be a table, is an integer"),
        ("[agent]\nid = true\n", "agent.id", "expected `str`"),
        ("[uplink]\nurls = [1]\n", "uplink.urls[0]", "expected `str`"),
        ("[uplink]\nmax_inflight = 1.5\n", "uplink.max_inflight", "expected `int`"),
        ("[uplink]\ninsecure = 1\n", "uplink.insecure", "expected `bool`"),
        ("[uplink]\nkeepalive = 1979-05-27\n", "uplink.keepalive", "is not a duration"),
        ('[uplink]\nversion = "4"\n', "uplink.version", "'4'"),
        (
            RULE + "filters.data = [{ path = 'body.x', type = 'number' }]\n",
            "rule[0].filters.data[0].value",
            "is missing",
        ),
        (RULE + 'filters.date = "x"\n', "rule[0].filters.date", "unknown key"),
        (RULE + "workflow = 1\n", "rule[0].workflow", "expected `object | null`"),
    ],
)
def test_a_wrong_type_is_named_with_its_key_path(write: Write, text: str, key: str, reason: str) -> None:
    found = problems(write(text))
    assert list(found) == [key]
    assert reason in found[key]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[agent]\nid = "GW 1"\n', "agent.id"),
        ('[uplink]\nurl = "http://broker"\n', "uplink.url"),
        ('[uplink]\nurl = "wss://broker/mqtt"\n', None),
        ('[uplink]\nproxy = "socks5://10.0.0.1:1080"\n', None),
        ('[uplink]\nproxy = "10.0.0.1:1080"\n', "uplink.proxy"),
        ('[uplink]\nqos = 2\nproxy = "http://10.0.0.1"\n', "uplink.qos"),
        ('[uplink]\nqos = 2\nurl = "ws://broker"\n', "uplink.qos"),
        ('[uplink]\nqos = 2\nversion = "3.1.1"\n', "uplink.qos"),
        ('[uplink]\nurl = "mqtt://me:secret@broker"\n', "uplink.url"),
        ('[uplink]\nreply_prefix = "a/#"\n', "uplink.reply_prefix"),
        ('[uplink]\nreply_prefix = "a/"\n', "uplink.reply_prefix"),
        ('[uplink]\nreply_prefix = ""\n', "uplink.reply_prefix"),
        ('[relay]\nstatus_timeout = "0s"\n', "relay.status_timeout"),
        ('[relay]\ngive_up_after = "500ms"\n', "relay.give_up_after"),
        ('[uplink]\nurls = ["mqtt://a", "mqtt://b:99999"]\n', "uplink.urls[1]"),
        ('[uplink]\nversion = "3.1.1"\n', None),
        ('[uplink]\nclient_id = ""\n', "uplink.client_id"),
        ("[uplink]\nkeepalive = 0\n", "uplink.keepalive"),
        ('[uplink]\nkeepalive = "1d"\n', "uplink.keepalive"),
        ("[uplink]\nconnect_timeout = 0\n", "uplink.connect_timeout"),
        ('[uplink]\nsession_expiry = "36500d"\n', None),
        ("[uplink]\nsession_expiry = 4294967296\n", "uplink.session_expiry"),
        ("[uplink]\nqos = 0\n", None),
        ("[uplink]\nqos = 2\n", None),
        ('[uplink]\ntrigger_topic = "a/#"\n', "uplink.trigger_topic"),
        ('[uplink]\nresponse_topic = ""\n', "uplink.response_topic"),
        ('[uplink]\nstatus_topics = ["ok/#", "a#"]\n', "uplink.status_topics[1]"),
        ("[uplink]\nmax_inflight = 0\n", "uplink.max_inflight"),
        ("[uplink]\nmax_unanswered = 1001\n", "uplink.max_unanswered"),
        ("[uplink]\nresponse_timeout = 0\n", "uplink.response_timeout"),
        ("[outbox]\npark_after = 0\n", "outbox.park_after"),
        ('[outbox]\nsegment_bytes = "64KiB"\nmax_event_bytes = "32KiB"\n', None),
        ('[outbox]\nsegment_bytes = "63KiB"\nmax_event_bytes = "1KiB"\n', "outbox.segment_bytes"),
        ('[outbox]\nmax_bytes = "31MiB"\n', "outbox.max_bytes"),
        ('[outbox]\nmax_event_bytes = "5MiB"\n', "outbox.max_event_bytes"),
        ('[outbox]\nsegment_bytes = "32MiB"\nmax_event_bytes = "9MiB"\n', "outbox.max_event_bytes"),
        ("[outbox]\nmax_event_bytes = 0\n", "outbox.max_event_bytes"),
        ("[outbox]\ndedupe_events = -1\n", "outbox.dedupe_events"),
        ('[outbox]\ncommit_delay = "2s"\n', "outbox.commit_delay"),
        ("[http]\nmax_connections = 0\n", "http.max_connections"),
        ('[http]\nlisten = "8745"\n', "http.listen"),
        ('[http]\nlisten = "192.168.0.7:8745"\n', "http.listen"),
        ('[http]\nlisten = ""\n', None),
        ('[http]\nlisten = "localhost:8745"\n', None),
        ('[http]\nhosts = ["gateway.local", "GW-7"]\n', None),
        ('[http]\nhosts = ["gateway.local:8745"]\n', "http.hosts[0]"),
        ('[http]\nhosts = ["gw", "*.local"]\n', "http.hosts[1]"),
        ('[http]\nhosts = [""]\n', "http.hosts[0]"),
        ('[http]\nlisten = "[::1]:8745"\n', None),
        ('[local]\n[[local.subscribe]]\ntopic = "a#"\n', "local.subscribe[0].topic"),
        ('[local]\n[[local.subscribe]]\ntopic = "a"\nid = "seq"\n', "local.subscribe[0].id"),
        (
            'local.subscribe = [{ topic = "a/+" }, { topic = "b" }, { topic = "a/b" }]\n',
            "local.subscribe[2].topic",
        ),
        ('[[local.subscribe]]\ntopic = "#"\n[[local.subscribe]]\ntopic = "$SYS/#"\n', None),
        ('[uplink]\nclient_id = "x"\n[local]\nclient_id = "x"\n', "local.client_id"),
        ('[uplink]\nclient_id = "x"\n[local]\nclient_id = "x"\nurl = "mqtt://127.0.0.2"\n', None),
        ('[relay]\ntopic = "edgeagent/status"\n', "relay.topic"),
        ('[relay]\ntopic = "edgeagent/{source}/#"\n', "relay.topic"),
        ('[relay]\ntopic = "plant/{source}"\n', "relay.topic"),
        (RULE + RULE, "rule[1].name"),
        (RULE.replace('"r"', '"R"'), "rule[0].name"),
        (RULE.replace("plant", "Plant"), "rule[0].namespace"),
        (RULE + "ttl = 0\n", "rule[0].ttl"),
        (RULE + 'workflow_file = "w.json"\n', "rule[0].template"),
        (RULE.replace('template = "t"', ""), "rule[0].template"),
        (RULE + 'filters.data = [{ path = "", type = "number", value = ["1"] }]\n', "rule[0].filters.data[0]"),
        (RULE + 'arguments = { a = "" }\n', "rule[0].arguments.a"),
        (RULE + 'name_prefix = "-x"\n', "rule[0].name_prefix"),
        (RULE + 'window = { time = "10s", count = 100, by = "rule" }\nthrottle = "5m"\n', None),
        (RULE + "window = { count = 100 }\n", "rule[0].window.time"),
        (RULE + 'window = { time = "10s" }\nttl = "10s"\n', "rule[0].window.time"),
        (RULE + 'window = { time = "2d" }\n[outbox]\nmax_age = "1d"\n', "rule[0].window.time"),
        (RULE + 'window = { time = "10s", count = 1001 }\n', "rule[0].window.count"),
        (RULE + 'window = { time = "10s", by = "door" }\n', "rule[0].window.by"),
        (RULE + 'window = { time = "10s", size = 1 }\n', "rule[0].window.size"),
        (RULE + 'window = "10s"\n', "rule[0].window"),
        (RULE + "throttle = 0\n", "rule[0].throttle"),
        (RULE + 'throttle = "often"\n', "rule[0].throttle"),
        (RULE + "rearm = {}\n", "rule[0].rearm"),
        (RULE + 'rearm = { filters = { context = { type = "closed" } } }\n', "rule[0].rearm.filters"),
        (RULE + 'rearm.data = [{ path = "", type = "number", value = ["1"] }]\n', "rule[0].rearm.data[0]"),
        (RULE + 'rearm.data = [{ path = "a", type = "text", value = ["1"] }]\n', "rule[0].rearm.data[0].type"),
        (RULE + 'rearm.script = "x"\n', "rule[0].rearm.script"),
        (RULE + 'coalesce = "latest"\n', None),
        (RULE + 'coalesce = "oldest"\n', "rule[0].coalesce"),
        (RULE + 'coalesce = "latest"\nwindow = { time = "10s" }\n', "rule[0].coalesce"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_else(write: Write, text: str, key: str | None) -> None:
    if key is None:
        load_agent(write(text), {})
    else:
        assert list(problems(write(text))) == [key]


def test_every_connection_is_checked_the_same_way(write: Write) -> None:
    for table in ("uplink", "local"):
        assert list(problems(write(f"[{table}]\nkeepalive = 0\n"))) == [f"{table}.keepalive"]


def test_certificates_passwords_and_tls_belong_together(write: Write, tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem", "ca.pem", "password"):
        (tmp_path / name).touch()
    tls = '[uplink]\nurl = "mqtts://broker"\n'
    assert list(problems(write(tls + 'cert_file = "cert.pem"\n'))) == ["uplink.cert_file"]
    assert list(problems(write(tls + 'key_file = "key.pem"\n'))) == ["uplink.cert_file"]
    assert list(problems(write(tls + 'key_password_file = "password"\n'))) == ["uplink.key_password_file"]
    assert list(problems(write(tls + 'password_file = "password"\n'))) == ["uplink.password_file"]
    assert list(problems(write('[uplink]\nca_file = "ca.pem"\n'))) == ["uplink.url"]
    load_agent(write(tls + 'ca_file = "ca.pem"\ncert_file = "cert.pem"\nkey_file = "key.pem"\n'), {})


def test_a_file_is_looked_up_among_the_credentials_first_and_then_beside_the_configuration(
    write: Write, tmp_path: Path
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    path = write('[http]\ntoken_file = "token"\n')
    env = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert str(credentials / "token") in problems(path, env)["http.token_file"]
    assert str(tmp_path / "token") in problems(path, env)["http.token_file"]
    (tmp_path / "token").touch()
    assert load_agent(path, env).http.token_file == str(tmp_path / "token")
    (credentials / "token").touch()
    assert load_agent(path, env).http.token_file == str(credentials / "token")
    assert load_agent(path, {}).http.token_file == str(tmp_path / "token")


def test_an_absolute_name_of_a_file_is_taken_as_it_is(write: Write, tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    path = write(f'[http]\ntoken_file = "{tmp_path / "token"}"\n')
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path / "elsewhere")}
    assert load_agent(path, env).http.token_file == str(tmp_path / "token")


@pytest.mark.parametrize("value", ['""', "1", '"."'])
def test_what_is_no_name_of_a_file_is_refused(write: Write, value: str) -> None:
    assert list(problems(write(f"[http]\ntoken_file = {value}\n"))) == ["http.token_file"]


def test_listening_beyond_this_machine_needs_a_token(write: Write, tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    for host in ("0.0.0.0", "[::]", "gateway.example"):  # noqa: S104  they are what is refused
        assert "token_file" in problems(write(f'[http]\nlisten = "{host}:8745"\n'))["http.listen"]
        load_agent(write(f'[http]\nlisten = "{host}:8745"\ntoken_file = "token"\n'), {})


def test_a_rules_workflow_may_stand_in_a_file_of_json_or_yaml(write: Write, tmp_path: Path) -> None:
    workflow = {"spec": {"entrypoint": "main", "templates": [{"name": "main", "suspend": {}}]}}
    (tmp_path / "w.json").write_text(json.dumps(workflow))
    (tmp_path / "w.yaml").write_text("spec:\n  entrypoint: main\n  templates:\n    - {name: main, suspend: {}}\n")
    for name in ("w.json", "w.yaml"):
        path = write(RULE.replace('template = "t"', f'workflow_file = "{name}"'))
        assert load_agent(path, {}).rule[0].workflow == workflow


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.json", "{"),
        ("w.json", "[]"),
        ("w.json", '{"kind": "Pod", "spec": {"a": 1}}'),
        ("w.json", '{"spec": {"entrypoint": "main"}}'),
        ("w.json", '{"spec": {"templates": ' + '{"a":' * 200 + "1" + "}" * 202),
        ("w.json", "[" * 100_000),
        ("w.yaml", "a: [\n"),
        ("w.yaml", "&a [*a]\n"),
        ("w.yaml", "\0"),
        ("w.yaml", "!!python/object/apply:os.system ['true']\n"),
        ("w.json", " " * ((1 << 20) + 1)),
        ("gone.json", None),
    ],
)
def test_a_workflow_file_that_cannot_be_used_is_named_with_its_rule(
    write: Write, tmp_path: Path, name: str, content: str | None
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    found = problems(write(RULE.replace('template = "t"', f'workflow_file = "{name}"')))
    assert list(found) == ["rule[0].workflow_file"]
    assert found["rule[0].workflow_file"].startswith(f"{name}: ")
    assert "\n" not in found["rule[0].workflow_file"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[agent\n", "is not TOML"),
        (b"a = \xff", "is not UTF-8: invalid start byte at byte 4"),
        (b"a = " + b"9" * 5000, "is not TOML"),
        (b"a = " + b"[" * 5000, "is not TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_refused_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    found = problems(path)
    assert list(found) == [""]
    assert reason in found[""]


def test_a_file_that_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path) -> None:
    assert problems(tmp_path / "gone.toml") == {"": "no such file; name one with -c"}
    assert "cannot be read" in problems(tmp_path)[""]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(200))
@given(st.data())
def test_whatever_happens_to_a_configuration_it_is_loaded_or_refused_with_a_config_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    lines = (ROOT / "config.example.toml").read_text("utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition(" = ")[0]
        value = data.draw(st.sampled_from(["-1", "0", "1e400", "nan", '""', "[]", "{}", "[{}]", "true", "00:00:00"]))
        lines[at] = data.draw(st.one_of(st.just(f"{key} = {value}"), st.text(max_size=20)))
    path = tmp_path / "config.toml"
    path.write_text("\n".join(lines), "utf-8", errors="surrogatepass")
    with contextlib.suppress(ConfigError):
        load_agent(path, {})


def test_which_file_is_read() -> None:
    env = {"EDGEAGENT_CONFIG": "/srv/agent.toml"}
    assert config.agent_config_path("mine.toml", env) == Path("mine.toml")
    assert config.agent_config_path(None, env) == Path("/srv/agent.toml")
    assert config.agent_config_path(None, {}) == Path("/etc/edgeagent/config.toml")
    assert config.dispatcher_config_path(None) == Path("/etc/edgeagent/dispatch.toml")
    assert config.dispatcher_config_path("mine.toml") == Path("mine.toml")


def test_more_rules_than_a_record_can_hold_triggers_are_refused() -> None:
    rules = [RuleSpec("r", "plant", template="t")] * (MAX_COUNT + 1)
    (problem,) = agent_problems(AgentConfig(rule=rules))
    assert problem.path == "rule"
