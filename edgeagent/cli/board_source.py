"""What `edgeagent status` and `edgeagent top` show, fetched from the running agent."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from edgeagent.cli.board import Board
from edgeagent.cli.client import AgentClient, AgentRefused
from edgeagent.cli.shown_stats import Rates, ShownStats, rates_between, rates_of_series, read_stats
from edgeagent.errors import CommandFailed
from edgeagent.ports.operator import WAITING, WaitingQuery

T = TypeVar("T")

# Rates of looks are over this time, so that a burst is seen for a while, and no longer.
_RATES_S = 15.0
_LOGS = ("high", "normal", "windows", "limited", "parked")


class BoardSource:
    """Asks an agent for everything on the board. Owns the figures of the last looks, from which rates are made."""

    def __init__(self, client: AgentClient) -> None:
        """The caller opens and closes the client."""
        self._client = client
        self._looks: deque[tuple[float, ShownStats]] = deque()

    def once(self) -> Board:
        """The board, with the rates that the agent itself keeps.

        Raises:
            AgentUnreachable, AgentRefused: the agent does not answer, or refuses.
            CommandFailed: the agent is of another version, and answers in another form.
        """
        return self._board(self._kept_rates())

    def look(self) -> Board:
        """The board, with the rates over the last looks; the first look has those that the agent keeps."""
        now = time.monotonic()
        while len(self._looks) > 1 and self._looks[1][0] <= now - _RATES_S:
            self._looks.popleft()
        board = self._board(None if self._looks else self._kept_rates())
        if self._looks and self._looks[0][1].started != board.stats.started:
            self._looks.clear()
        self._looks.append((now, board.stats))
        since, before = self._looks[0]
        return board if before is board.stats else board._replace(rates=rates_between(before, board.stats, now - since))

    def document(self) -> dict[str, Any]:
        """The same for a program: the figures as the agent gives them, and what is asked for beside them."""
        return {
            "stats": self._get("/v1/stats"),
            "not_ready": self._not_ready(),
            "oldest_ms": self._oldest_ms(),
            "rates": self._kept_rates(),
        }

    def _board(self, rates: Rates | None) -> Board:
        stats = self._read(read_stats, "/v1/stats")
        oldest_ms = self._oldest_ms() if stats.account.triggers.pending else None
        return Board(stats, self._not_ready(), oldest_ms, rates, time.time_ns() // 1_000_000)

    def _kept_rates(self) -> Rates | None:
        try:
            return self._read(rates_of_series, "/v1/series")
        except AgentRefused as exc:
            if exc.status == HTTPStatus.NOT_FOUND:  # an earlier version keeps none
                return None
            raise

    def _not_ready(self) -> str:
        try:
            self._get("/readyz")
        except AgentRefused as exc:
            return exc.detail
        return ""

    def _oldest_ms(self) -> int | None:
        return min(self._first_of_each_log(), default=None)

    def _first_of_each_log(self) -> Iterator[int]:
        for log in _LOGS:
            for waiting in self._client.perform(WAITING, WaitingQuery(log, limit=1)).triggers:
                yield waiting.trigger.accepted_ms

    def _read(self, read: Callable[[Any], T], path: str) -> T:
        try:
            return read(self._get(path))
        except msgspec.ValidationError as exc:
            reason = "the agent answers in the form of another version; restart it after an update"
            raise CommandFailed(f"{path}: {reason} ({exc})") from exc

    def _get(self, path: str) -> Any:
        return self._client.request("GET", path)[1]
