"""What takes in the body of a request that is too large to be in memory."""

from __future__ import annotations

from typing import Protocol

from edgeagent.errors import EdgeAgentError
from edgeagent.httpapi.problem import Answer


class Reception(Protocol):
    """One request's body on its way to the spool.

    Attributes:
        is_congested: nothing should be read from the client until `wake` is called.
        error: why nothing more is taken; None while it is.
    """

    @property
    def is_congested(self) -> bool:
        """See the class."""

    @property
    def error(self) -> EdgeAgentError | None:
        """See the class."""

    def take(self, data: bytes | bytearray) -> None:
        """A part came.

        Raises:
            EdgeAgentError: it is not taken, and the request is answered with this.
        """

    async def answer(self) -> Answer:
        """All of the body came: the answer to the request.

        Raises:
            EdgeAgentError: the request is answered with this.
        """

    def abandon(self) -> None:
        """The rest of the body will not come."""
