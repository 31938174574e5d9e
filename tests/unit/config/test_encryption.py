from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.config import load_agent
from edgeagent.config.encryption import uses_tls

SUBSCRIBE = '\n[[mqtt.subscribe]]\ntopic = "a"'
UPLINK = '[uplink]\nurl = "mqtt://broker"\n'
CERTIFICATE = '\ncert_file = "c"\nkey_file = "k"'


@pytest.mark.parametrize(
    ("text", "encrypted"),
    [
        ("", False),
        ('[uplink]\nurl = "mqtt://broker"', False),
        ('[uplink]\nurl = "ws://broker/mqtt"', False),
        ('[uplink]\nurl = "mqtts://broker"', True),
        ('[uplink]\nurl = "wss://broker/mqtt"', True),
        ('[uplink]\nurl = "amqp://broker"', False),
        ('[uplink]\nurl = "amqps://broker"', True),
        ('[uplink]\nurls = ["mqtt://one", "mqtts://two"]', True),
        ('[local]\nurl = "mqtt://localhost"\n[[local.subscribe]]\ntopic = "a"', False),
        ('[local]\nurl = "mqtts://localhost"\n[[local.subscribe]]\ntopic = "a"', True),
        (f"{UPLINK}[mqtt]{SUBSCRIBE}", False),
        (f'{UPLINK}[mqtt]\nlisten = "tls://127.0.0.1:8883"{CERTIFICATE}{SUBSCRIBE}', True),
        (f'{UPLINK}[mqtt]\nlisten = ["127.0.0.1:1883"]{SUBSCRIBE}', False),
        (f'{UPLINK}[mqtt]\nlisten = "127.0.0.1:1883"{SUBSCRIBE}', False),
        (f'{UPLINK}[mqtt]\nlisten = "ws://127.0.0.1:9001"{SUBSCRIBE}', False),
        (f'{UPLINK}[mqtt]\nlisten = "wss://127.0.0.1:9443"{CERTIFICATE}{SUBSCRIBE}', True),
        (f'{UPLINK}[mqtt]\nlisten = ["127.0.0.1:1883", "tls://127.0.0.1:8883"]{CERTIFICATE}{SUBSCRIBE}', True),
        ('[[relay.webhook]]\nurl = "https://example.org/"\nsecret_file = "k"', True),
    ],
)
def test_tls_is_used_where_a_connection_is_encrypted_or_there_are_webhooks(
    text: str, encrypted: bool, tmp_path: Path
) -> None:
    for name in ("c", "k"):
        (tmp_path / name).write_text("whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "utf-8")
    file = tmp_path / "config.toml"
    file.write_text(text, "utf-8")
    assert uses_tls(load_agent(file, {})) is encrypted
