"""Where an artifact is read from, whatever its url."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol


class OpenedSource(NamedTuple):
    """`offset`: where the parts begin, as it was asked for or 0. `parts`: the bytes from there on; may raise as `open`.

    They may end early or go on too long: who reads them counts.
    """

    offset: int
    parts: Iterator[bytes]


class Source(Protocol):
    """One artifact at one url."""

    @property
    def shown(self) -> str:
        """The url for people."""

    def open(self, offset: int) -> AbstractContextManager[OpenedSource]:
        """The artifact from a byte on.

        Raises:
            SourceUnavailable: not now.
            FetchRefused: never.
            WrongContent: it has another size than is wanted.
        """
