"""Asks less of a broker that lacks retained messages or QoS 1: pure.

MQTT 5 has answers for this: CONNACK refuses a will that the broker cannot keep, with a code, and says what else the
broker takes. A broker of MQTT 3.1.1 only closes the connection over such a will or publication, so its limits are
guessed.
"""

from __future__ import annotations

import msgspec

from edgeagent.mqtt.reason_codes import QOS_NOT_SUPPORTED, RETAIN_NOT_SUPPORTED
from edgeagent.ports.link import Abilities, Will


class Attempt(msgspec.Struct, frozen=True):
    """How one connection, or one attempt to connect, ended.

    `refused_with`: the reason code of a CONNACK that refused us, 0 for none. `unanswered`: the broker closed the
    connection before it answered CONNECT. `abilities`: None if it was never up. `over_retained`: the broker ended it
    without a reason while a retained publication was unacknowledged.
    """

    refused_with: int = 0
    unanswered: bool = False
    abilities: Abilities | None = None
    over_retained: bool = False


class Negotiation:
    """What the next attempt asks of the broker, given how earlier ones ended. `version`: of MQTT.

    It owns the will and the assumptions about the broker. It must never ask for less before the broker has refused
    more, and it gives up a mere guess (`plain`) after one attempt.
    """

    def __init__(self, version: str, will: Will | None) -> None:
        self._has_codes = version == "5"
        self._will = will
        self._retained, self._qos = True, True  # whether the will may have what it asks for
        self._plain = False

    @property
    def plain(self) -> bool:
        """Whether the broker is assumed to have no retained messages, though it did not say so."""
        return self._plain

    @property
    def will(self) -> Will | None:
        """The will to connect with."""
        will = self._will
        if will is None:
            return None
        retained, qos = self._retained and not self._plain, self._qos and not self._plain
        return msgspec.structs.replace(will, retain=will.retain and retained, qos=will.qos if qos else 0)

    def ended(self, attempt: Attempt) -> bool:
        """Learn from how an attempt ended. True: the next attempt asks for less, and is made at once."""
        if self._has_codes:
            return self._learn_from_codes(attempt)
        plain, self._plain = self._plain, False  # a mere guess is tried again each time
        if plain or self._will is None or self._will == msgspec.structs.replace(self._will, retain=False, qos=0):
            self._plain = not plain and attempt.over_retained
            return False
        self._plain = attempt.unanswered or attempt.over_retained
        return attempt.unanswered

    def _learn_from_codes(self, attempt: Attempt) -> bool:
        will = self.will
        if will is None:
            return False
        if attempt.abilities is not None:
            self._retained, self._qos = attempt.abilities.retains, attempt.abilities.most_qos > 0
        elif attempt.refused_with == RETAIN_NOT_SUPPORTED and will.retain:
            self._retained = False
            return True
        elif attempt.refused_with == QOS_NOT_SUPPORTED and will.qos:
            self._qos = False
            return True
        return False
