"""Where an operator's commands work: on a running agent over its Unix socket, else on its state directory."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from edgeagent.cli.client import AgentClient
from edgeagent.cli.options import client_config, socket_path
from edgeagent.errors import AgentUnreachable
from edgeagent.ports.operator import DeadLetter, Imported, RecordedPage, Waiting, WaitingPage
from edgeagent.ports.transfer import ExportedTrigger
from edgeagent.ports.verification import Overview, VerifiedPart

# A part of a log is read, or written and synced, in one answer: on a slow disk that takes its time.
_DISK_TIMEOUT_S = 300.0


class Place(Protocol):
    """An outbox. The calls are those of `OperatorPort`."""

    @property
    def agent(self) -> str:
        """The agent's id."""

    def dead_letters(self) -> list[DeadLetter]:
        """Every dead letter, oldest first."""

    def replay(self, correlation_ids: Sequence[str]) -> list[str]:
        """Put dead letters back; returns those found."""

    def discard(self, correlation_ids: Sequence[str]) -> list[str]:
        """Let go of dead letters for good; returns those found."""

    def waiting(self, log: str, seq: int, limit: int) -> WaitingPage:
        """Triggers that wait in a log, from `seq` on."""

    def find_waiting(self, text: str) -> list[Waiting]:
        """Triggers in any log that a person may mean."""

    def release_exported(self, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> int:
        """Release what is in an export file; returns how many."""

    def take_in(self, digest: str, first_number: int, triggers: Sequence[ExportedTrigger]) -> Imported:
        """Take in triggers of an export file."""

    def overview(self) -> Overview:
        """What is known before the logs are read."""

    def verify(self, log: str, seq: int) -> VerifiedPart:
        """Read a part of a log."""

    def recorded(self, log: str, seq: int) -> RecordedPage:
        """Events that are still in a log of events, from `seq` on, whatever became of them."""


def at_place(args: argparse.Namespace, work: Callable[[argparse.Namespace, Place], int], *, only_looks: bool) -> int:
    """Do some work where the outbox is. `only_looks`: on a stopped agent's directory nothing may change.

    Raises:
        OutboxLocked: the agent runs, but its socket cannot be reached.
        CommandFailed: there is no outbox, or the work fails.
    """
    config = client_config(args)
    with AgentClient.unix(socket_path(config)) as client:
        try:
            running = RunningAgent(client)
        except AgentUnreachable:
            running = None
        if running is not None:
            return work(args, running)
    # Only here: it loads all of the agent.
    from edgeagent.agent.stopped import looked_at, opened  # noqa: PLC0415

    with looked_at(config) if only_looks else opened(config) as stopped:
        return work(args, stopped)


class RunningAgent:
    """The outbox of a running agent."""

    def __init__(self, client: AgentClient) -> None:
        """Ask the agent for its name.

        Raises:
            AgentUnreachable: none runs.
        """
        self._client = client
        self.agent = str(self._get("/v1/stats")["agent"])

    def dead_letters(self) -> list[DeadLetter]:
        """See `Place`."""
        return msgspec.convert(self._get("/v1/dead")["dead"], list[DeadLetter])

    def replay(self, correlation_ids: Sequence[str]) -> list[str]:
        """See `Place`."""
        answer = self._post("/v1/dead/replay", msgspec.json.encode({"correlation_ids": correlation_ids}))
        return msgspec.convert(answer["replayed"], list[str])

    def discard(self, correlation_ids: Sequence[str]) -> list[str]:
        """See `Place`."""
        answer = self._post("/v1/dead/discard", msgspec.json.encode({"correlation_ids": correlation_ids}))
        return msgspec.convert(answer["discarded"], list[str])

    def waiting(self, log: str, seq: int, limit: int) -> WaitingPage:
        """See `Place`."""
        return msgspec.convert(self._get(f"/v1/outbox/waiting?log={log}&from={seq}&limit={limit}"), WaitingPage)

    def find_waiting(self, text: str) -> list[Waiting]:
        """See `Place`."""
        return msgspec.convert(self._get(f"/v1/outbox/find?id={quote(text, safe='')}")["found"], list[Waiting])

    def release_exported(self, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> int:
        """See `Place`."""
        return int(self._post("/v1/outbox/exported", msgspec.json.encode({"ranges": ranges}))["released"])

    def take_in(self, digest: str, first_number: int, triggers: Sequence[ExportedTrigger]) -> Imported:
        """See `Place`."""
        lines = b"\n".join(msgspec.json.encode(trigger) for trigger in triggers)
        path = f"/v1/outbox/import?digest={digest}&number={first_number}"
        return msgspec.convert(self._post(path, lines, "application/x-ndjson"), Imported)

    def overview(self) -> Overview:
        """See `Place`."""
        return msgspec.convert(self._get("/v1/outbox/overview"), Overview)

    def verify(self, log: str, seq: int) -> VerifiedPart:
        """See `Place`."""
        return msgspec.convert(self._get(f"/v1/outbox/verify?log={log}&from={seq}"), VerifiedPart)

    def recorded(self, log: str, seq: int) -> RecordedPage:
        """See `Place`."""
        return msgspec.convert(self._get(f"/v1/outbox/recorded?log={log}&from={seq}"), RecordedPage)

    def _get(self, path: str) -> Any:
        return self._client.request("GET", path, timeout_s=_DISK_TIMEOUT_S)[1]

    def _post(self, path: str, body: bytes, media_type: str = "application/json") -> Any:
        return self._client.request("POST", path, body, {"Content-Type": media_type}, _DISK_TIMEOUT_S)[1]
