from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.__main__ import main
from edgeagent.config import load_agent
from edgeagent.errors import ConfigError

RULE = '[[rule]]\nname = "r"\nnamespace = "n"\ntemplate = "t"\n'


def written(directory: Path, uplink: str, local: str, subscribe: str, keys: str = "") -> Path:
    path = directory / "config.toml"
    text = f'[uplink]\nurl = "{uplink}"\n{keys}\n[local]\nurl = "{local}"\n[[local.subscribe]]\n{subscribe}\n{RULE}'
    path.write_text(text, "utf-8")
    return path


LOOP = 'trigger_topic = "plant/gw1/triggers"'


@pytest.mark.parametrize(
    ("uplink", "local"),
    [
        ("mqtt://broker:1883", "mqtt://broker"),
        ("mqtts://Broker.:8883", "mqtt://broker:8883"),
        ("mqtt://localhost", "mqtt://127.0.0.1:1883"),
        ("mqtt://[::1]", "mqtt://127.0.0.1"),
        ("mqtt://[::ffff:10.0.0.1]", "mqtt://10.0.0.1"),
    ],
)
@pytest.mark.parametrize(
    ("keys", "topic"),
    [
        (LOOP, "plant/#"),
        (LOOP, "plant/+/triggers"),
        ('trigger_topic = "plant/{agent}/triggers"', "plant/gw2/#"),
        ('response_topic = "answers/{agent}"', "answers/+"),
        ('status_topics = ["plant/+/status"]', "plant/#"),
        ('reply_prefix = "plant/{agent}/replies"', "plant/#"),
        ('reply_prefix = "plant"', "plant/+/data"),
    ],
)
def test_our_own_topics_below_a_subscription_on_one_broker_are_refused(
    tmp_path: Path, uplink: str, local: str, keys: str, topic: str
) -> None:
    with pytest.raises(ConfigError, match="on the same broker: each trigger would become an event") as caught:
        load_agent(written(tmp_path, uplink, local, f'topic = "{topic}"', keys), {})
    assert caught.value.problems[0].path == "local.subscribe[0].topic"


@pytest.mark.parametrize(
    ("uplink", "keys", "topic"),
    [
        ("mqtt://broker", "", "#"),  # argo/workflows/# is never an event
        ("mqtt://broker", LOOP, "devices/#"),
        ("mqtt://other", LOOP, "plant/#"),
        ("mqtt://broker:1884", LOOP, "plant/#"),
    ],
)
def test_what_can_make_no_loop_is_right(tmp_path: Path, uplink: str, keys: str, topic: str) -> None:
    load_agent(written(tmp_path, uplink, "mqtt://broker", f'topic = "{topic}"', keys), {})


@pytest.mark.parametrize(
    ("keys", "subscribe", "words"),
    [
        (LOOP, 'topic = "plant/#"', "plant/gw1/triggers are never events: it is uplink.trigger_topic"),
        ("", 'topic = "edgeagent/status/+"', "brings no events"),
        ("", 'topic = "plant/+/a/+"\nsource = "{1}"', "leaves out level 3: devices that differ only there share"),
        ("", 'topic = "plant/+/a/+"\nsource = "all"', "leaves out level 1 and 3"),
        ("", 'topic = "plant/+/a/+"\nsource = "{1}-{3}"', ""),
        ("", 'topic = "plant/+"', ""),
        ("", 'topic = "plant/+"\nsource = "{1}-{2}"', "names level 2, and the topic's last is 1: its messages are"),
        ("", 'topic = "plant/#"\nsource = "{7}"', ""),
        ("", 'topic = "plant/+"\nsource = "{1}{x}"', ""),
    ],
)
def test_check_warns_of_what_may_not_be_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keys: str, subscribe: str, words: str
) -> None:
    assert main(["check", "-c", str(written(tmp_path, "mqtt://up", "mqtt://down", subscribe, keys))]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "WARN" in line]
    assert [words in line for line in lines] == [True] * bool(words)
