"""The replies to status updates whose sender asks for one (contract section 5)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from edgeagent.agent.addressing import Addressing
from edgeagent.agent.counts import AnswerCounts
from edgeagent.common.foreign import shown
from edgeagent.ports.link import Message, Publication
from edgeagent.wire.messages import StatusReply

_log = logging.getLogger(__name__)


class Replies:
    """Addresses the replies to status updates.

    Owns whether a refused reply was logged. Promises at most one reply, at QoS 0, so that a reply over which a broker
    ends connections does so only once. Must never address one outside `uplink.reply_prefix`: the sender chooses the
    topic, and could make the agent speak in anybody's name.
    """

    def __init__(self, addressing: Addressing, counts: AnswerCounts) -> None:
        self._addressing = addressing
        self._counts = counts
        self._refusal_noticed = False

    def to(self, message: Message, reply: StatusReply) -> Sequence[Publication]:
        """The publication of a reply; empty if none is asked for, the message came before, or its topic is refused."""
        topic = message.response_topic
        if not topic or message.duplicate:
            return ()
        if not self._addressing.may_reply_on(topic):
            self._counts.replies_refused += 1
            if not self._refusal_noticed:
                self._refusal_noticed = True
                _log.warning(
                    "a status update asks for a reply on %s, which is not below uplink.reply_prefix: it gets none, and "
                    "others like it are only counted",
                    shown(topic),
                    extra={"event": "reply_refused"},
                )
            return ()
        return (
            Publication(
                token=0,
                topic=topic,
                payload=msgspec.json.encode(reply),
                qos=0,
                content_type="application/json",
                correlation_data=message.correlation_data,
            ),
        )
