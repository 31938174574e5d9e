from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.common.units import Duration
from edgeagent.config import load_dispatcher
from edgeagent.errors import ConfigError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "dispatch.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def dispatcher_problems(path: Path) -> dict[str, str]:
    """What a dispatcher's configuration is refused for: reason by key path."""
    with pytest.raises(ConfigError) as caught:
        load_dispatcher(path, {})
    return dict(caught.value.problems)


def test_a_dispatcher_must_say_what_starts_workflows(write: Write) -> None:
    assert dispatcher_problems(write("")) == {"engine": "is missing"}
    assert dispatcher_problems(write("[engine]\n")) == {"engine.kind": "is missing"}
    assert list(dispatcher_problems(write('[engine]\nkind = "argo"\n'))) == ["engine.url", "allow"]
    assert load_dispatcher(write('[engine]\nkind = "dry-run"\n'), {}).broker.session_expiry == Duration(60)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[broker]\ngroup = "a/b"\n', "broker.group"),
        ('[broker]\ngroup = ""\n', "broker.group"),
        ('[[allow]]\ntemplates = ["*"]\n', "allow[0].namespaces"),
        ('[[allow]]\nnamespaces = ["*"]\n', "allow[0].templates"),
        ("[uplink]\n", "uplink"),
        ('[broker]\ninstance = "a/b"\n', "broker.instance"),
        ("[broker]\nkeepalive = 0\n", "broker.keepalive"),
        ("max_concurrent = 0\n", "engine.max_concurrent"),
        ("max_concurrent = 257\n", "engine.max_concurrent"),
        ("max_active = 0\n", "engine.max_active"),
        ('[status]\nnamespaces = ["plant-*"]\n', "status.namespaces[0]"),
        ('[http]\nlisten = "8745"\n', "http.listen"),
        ("[status]\nconfigmap = true\n", "status.configmap"),
    ],
)
def test_a_dispatchers_configuration_that_cannot_work_is_refused(write: Write, text: str, key: str) -> None:
    assert list(dispatcher_problems(write('[engine]\nkind = "dry-run"\n' + text))) == [key]


ARGO = """
[engine]
kind = "argo"
url = "{url}"
[[allow]]
namespaces = [{namespaces}]
templates = ["*"]
"""


def argo(url: str = "https://argo.example:2746", namespaces: str = '"plant"') -> str:
    return ARGO.format(url=url, namespaces=namespaces)


def test_an_argo_dispatcher_watches_what_it_may_start_workflows_in(write: Write) -> None:
    config = load_dispatcher(write(argo(namespaces='"plant", "mill"') + '[status]\nnamespaces = ["lab"]\n'), {})
    assert config.watched_namespaces == ("lab", "mill", "plant")
    assert (config.engine.max_concurrent, config.engine.max_active, config.status.configmap) == (16, None, False)
    assert config.http.listen == ""


def test_a_glob_does_not_tell_an_argo_dispatcher_what_to_watch(write: Write) -> None:
    text = argo(namespaces='"plant", "plant-*"')
    assert dispatcher_problems(write(text)) == {
        "allow[0].namespaces": "'plant-*' does not tell which namespaces to watch: name them in [status] namespaces"
    }
    config = load_dispatcher(write(text + '[status]\nnamespaces = ["plant-1", "plant-2"]\n'), {})
    assert config.watched_namespaces == ("plant", "plant-1", "plant-2")


def test_max_active_is_a_number_or_has_a_number_for_each_namespace_and_template(write: Write) -> None:
    def limited(text: str) -> str:
        return argo().replace('kind = "argo"', f'kind = "argo"\nmax_active = {text}')

    assert load_dispatcher(write(limited("20")), {}).engine.max_active == 20
    keys = load_dispatcher(write(limited('{ "plant/*" = 20, "*/inspect" = 5, "plant/" = 1 }')), {}).engine.max_active
    assert keys == {"plant/*": 20, "*/inspect": 5, "plant/": 1}
    wrong = '{ inspect = 5, "a/b/c" = 1, "/inspect" = 1, "plant/x" = 0, "mill/*" = 3 }'
    problems = dispatcher_problems(write(limited(wrong)))
    assert {key.removeprefix("engine.max_active."): reason.partition(",")[0] for key, reason in problems.items()} == {
        "plant/x": "must be at least 1; leave it out for no limit",
        "inspect": "must be NAMESPACE/TEMPLATE",
        "a/b/c": "must be NAMESPACE/TEMPLATE",
        "/inspect": "must be NAMESPACE/TEMPLATE",
        "mill/*": "matches no watched namespace (plant)",
    }
    assert list(dispatcher_problems(write(limited('"many"')))) == ["engine.max_active"]


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("https://argo.example:2746", True),
        ("http://127.0.0.1:2746/argo/", True),
        ("https://[::1]:2746", True),
        ("argo.example:2746", False),
        ("ftp://argo.example", False),
        ("https://argo.example:99999", False),
        ("https://[::1", False),
        ("https://user@argo.example", False),
        ("https://argo.example?x=1", False),
    ],
)
def test_the_engines_url_is_that_of_an_argo_server(write: Write, url: str, accepted: bool) -> None:
    path = write(argo(url))
    if accepted:
        assert load_dispatcher(path, {}).engine.url == url
    else:
        assert list(dispatcher_problems(path)) == ["engine.url"]


def test_tls_keys_need_an_https_url(write: Write, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    text = argo("http://argo.example").replace("[[allow]]", 'ca_file = "ca.pem"\n[[allow]]')
    assert list(dispatcher_problems(write(text))) == ["engine.url"]
    text = argo().replace("[[allow]]", 'cert_file = "ca.pem"\n[[allow]]')
    assert list(dispatcher_problems(write(text))) == ["engine.cert_file"]
