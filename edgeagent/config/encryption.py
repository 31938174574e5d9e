"""Does an agent of this configuration use TLS?"""

from __future__ import annotations

from edgeagent.config.addresses import split_broker_url, split_listener
from edgeagent.config.tables import AgentConfig

# Every other scheme counts as encrypted: TLS that is missing would be worse than TLS that is not needed.
_PLAIN = frozenset({"mqtt", "ws", "amqp"})


def uses_tls(config: AgentConfig) -> bool:
    """Whether a connection may be encrypted. A reload changes none of what is asked here (`agent/reload.py`)."""
    links = [config.uplink, *([config.local] if config.local is not None else [])]
    if any(split_broker_url(address)[0] not in _PLAIN for link in links for address in link.addresses):
        return True
    if config.mqtt is not None and any(split_listener(address).is_tls for address in config.mqtt.listeners):
        return True
    return bool(config.relay.webhook)
