"""What `edgeagent doctor` tries at a broker."""

from __future__ import annotations

import msgspec


class BrokerTrial(msgspec.Struct, frozen=True):
    """What an agent or a dispatcher does at its broker.

    `client_id`: its own; the ids of the trials begin with it. `filters`: the subscriptions to try; shared ones are
    tried in a group of their own. `publishes`: the topics that it publishes on, where that can be tried without a
    message. `requests`: such topics that only an operator's commands use. `mark`: see `LinkRequest`.
    """

    client_id: str
    filters: tuple[str, ...]
    publishes: tuple[str, ...] = ()
    mark: str = ""
    requests: tuple[str, ...] = ()
