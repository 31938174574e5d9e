"""Publications that wait for their confirms: pure bookkeeping of one channel.

The broker numbers publications from 1, in order, and confirms them by number, alone or with all before them. One that
no queue takes is returned first, and confirmed after that; what comes back has no number, so it is found by its
message id, which is another for each publication in flight.
"""

from __future__ import annotations

from edgeagent.ports.link import UNHEARD, Ack, Publication, PublishRefused

_NACKED = PublishRefused(0, "its queue is full, or does not work (nack)")


class Confirms:
    """The publications in flight. Each is answered once.

    Args:
        nonce: begins the message ids of publications without a correlation id; another for each connection.
    """

    def __init__(self, nonce: str) -> None:
        self._nonce = nonce
        self._last = 0
        self._open: dict[int, tuple[int | None, str]] = {}  # by number: the owner's token, and the message id
        self._numbers: dict[str, int] = {}  # by message id
        self._returned: set[int] = set()

    def __len__(self) -> int:
        """How many are unanswered."""
        return len(self._open)

    @property
    def oldest(self) -> int:
        """The number of the publication that waits longest; 0: none waits."""
        return next(iter(self._open), 0)

    def message_id(self, publication: Publication) -> str:
        """The message id for the next publication: a trigger's correlation id and attempt."""
        if publication.attempt and publication.correlation_data is not None:
            found = f"{publication.correlation_data.decode('ascii', 'replace')}-{publication.attempt}"
            if found not in self._numbers:
                return found
        return f"{self._nonce}-{self._last + 1}"

    def add(self, publication: Publication, message_id: str) -> None:
        """Note that this publication is written."""
        self._last += 1
        self._open[self._last] = publication.token if publication.qos else None, message_id
        self._numbers[message_id] = self._last

    def returned(self, message_id: str | None) -> None:
        """Note that no queue takes this one."""
        if message_id is not None and (number := self._numbers.get(message_id)) is not None:
            self._returned.add(number)

    def confirmed(self, number: int, *, multiple: bool, refused: bool) -> list[Ack] | None:
        """The outcome of one, or of all up to it (0: of all); None: it is not in flight."""
        if number > self._last:
            return None
        if multiple:
            numbers = [each for each in self._open if each <= number or not number]
        else:
            numbers = [number] if number in self._open else []
        if not numbers and not multiple:
            return None
        acks = []
        for each in numbers:
            token, message_id = self._open.pop(each)
            del self._numbers[message_id]
            is_unheard = each in self._returned
            self._returned.discard(each)
            if token is None:
                continue
            if refused:
                acks.append(Ack(token, _NACKED))
            else:
                acks.append(Ack(token, UNHEARD) if is_unheard else Ack(token))
        return acks
