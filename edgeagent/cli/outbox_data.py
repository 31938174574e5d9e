"""The data of artifacts in the commands on an outbox: out of the spool, into it, and whether it is still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from http import HTTPStatus

from edgeagent.cli.access import OutboxAccess
from edgeagent.cli.client import AgentRefused
from edgeagent.errors import NotFound
from edgeagent.events.artifact import Artifact
from edgeagent.outbox.exportfile import ExportWriter
from edgeagent.ports.operator import DATA, TAKE_DATA, DataPart, DataPiece, DataPlace
from edgeagent.ports.transfer import ExportedData


class DataExport:
    """Writes the data of artifacts to an export file, that of each once."""

    def __init__(self, outbox: OutboxAccess, writer: ExportWriter) -> None:
        self._outbox = outbox
        self._writer = writer
        self._written: set[str] = set()

    def add(self, artifact: Artifact | None) -> bool:
        """Write the data of a trigger, if it has any there. False: it is gone, because the trigger ended meanwhile.

        Raises:
            EdgeAgentError: the outbox cannot be read, or the file not be written.
        """
        if artifact is None or artifact.sha256 in self._written:
            return True
        offset = 0
        for piece in _pieces(self._outbox, artifact):
            self._writer.add_data(
                ExportedData(data_of=artifact.sha256, offset=offset, size=artifact.size, data=piece.data)
            )
            offset += len(piece.data)
        if offset < artifact.size:
            return False
        self._written.add(artifact.sha256)
        return True


def take_data(outbox: OutboxAccess, piece: ExportedData) -> None:
    """Bring a piece of an export file to the spool.

    Raises:
        EdgeAgentError: it is not taken.
    """
    outbox.perform(TAKE_DATA, DataPart(piece.data_of, piece.offset, piece.size, piece.data))


def altered(outbox: OutboxAccess, artifacts: Iterable[Artifact]) -> Iterator[str]:
    """Reads the data of these artifacts; a sentence for each that is not what its name says."""
    for artifact in sorted(set(artifacts), key=lambda one: one.sha256):
        found, size = hashlib.sha256(), 0
        for piece in _pieces(outbox, artifact):
            found.update(piece.data)
            size += len(piece.data)
        if size == artifact.size and found.hexdigest() != artifact.sha256:
            yield f"spool: the data in {artifact.sha256} is not what its name says: it was altered on the disk"


def _pieces(outbox: OutboxAccess, artifact: Artifact) -> Iterator[DataPiece]:
    """The data of an artifact; it ends early if the file goes away meanwhile."""
    offset = 0
    while offset < artifact.size:
        try:
            piece = outbox.perform(DATA, DataPlace(artifact.sha256, offset))
        except NotFound:
            return
        except AgentRefused as exc:
            if exc.status == HTTPStatus.NOT_FOUND:
                return
            raise
        if not piece.data:
            return
        yield piece
        offset += len(piece.data)
