r"""Paths into an event's envelope, in gjson's syntax (docs/paths.md).

`body.temp`, `body.readings.0.value`, `body.a\.b` (a dot in a name), `body.readings.#(value>5)#.name`. Names and
indexes, which nearly every path consists of, are walked here; all else is compiled by `gjson`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final

from edgeagent.core.gjson import compile_find
from edgeagent.core.gjson_steps import Find
from edgeagent.core.gjson_values import MISSING, text_of
from edgeagent.core.names import nearest

__all__ = [
    "FILTER_MEMBERS", "MISSING", "Path", "compile_event_path", "compile_path", "lookup", "reader_of", "text_of",
]  # fmt: skip

# Names without a sign that is special anywhere, or with every such sign escaped.
_PLAIN: Final = re.compile(r"(?:[^\\.|*?#@!\[\]{}]|\\[^0-9])++(?:\.(?:[^\\.|*?#@!\[\]{}]|\\[^0-9])++)*+", re.DOTALL)
_DOT: Final = re.compile(r"((?:[^\\.]|\\.)+)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_FIRST_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)[.|]")
_BODY: Final = "body"
# What an event's envelope can have when filters look at it.
FILTER_MEMBERS: Final = frozenset({"id", "source", "type", "subject", "time", "datacontenttype", "topic", _BODY})


class Path:
    """A path, compiled by `compile_path`. `text`: as it was written, for messages."""

    __slots__ = ("find", "names", "text")

    def __init__(self, text: str, names: tuple[str, ...], find: Find | None) -> None:
        self.text = text
        self.names = names
        self.find = find  # None: the path is its names alone

    def __repr__(self) -> str:
        return f"Path({self.text!r})"

    @property
    def in_body(self) -> bool:
        """Whether it needs nothing of an envelope but the data."""
        return self.find is None and self.names[0] == _BODY


def compile_path(text: str) -> Path:
    """Compile a path.

    Raises:
        ValueError: it is empty, has an empty part, or uses syntax that is not supported; the text says which.
    """
    try:
        find = compile_find(text)
    except ValueError as exc:
        raise ValueError(f"{text!r}: {exc}" if text else "a path is empty: it has an empty part") from None
    if not _PLAIN.fullmatch(text):
        return Path(text, (), find)
    return Path(text, tuple(_ESCAPE.sub(r"\1", part) for part in _DOT.findall(text)), None)


def compile_event_path(text: str, members: Collection[str]) -> Path:
    """Compile a path into an event's envelope, which has only these members.

    Raises:
        ValueError: as `compile_path`; or no event has what it begins with.
    """
    path = compile_path(text)
    begins = _FIRST_NAME.match(text)
    first = path.names[0] if path.names else begins[1] if begins else None
    if first is not None and first not in members:
        rest = text[len(first) :] if nearest(first, [_BODY]) else f".{text}"
        raise ValueError(f"{text!r}: an event has no {first!r}, its data is in {_BODY}: did you mean {_BODY}{rest}?")
    return path


def lookup(path: Path, envelope: Any) -> Any:
    """The value at a path, or `MISSING`. `envelope` is decoded JSON: dict, list, str, int, float, bool, None.

    Takes time linear in the data, and never recurses with it.
    """
    value = envelope
    for name in path.names:
        if isinstance(value, dict):
            value = value.get(name, MISSING)
        elif isinstance(value, list) and name.isdecimal() and name.isascii() and int(name) < len(value):
            value = value[int(name)]
        else:
            return MISSING
    return value if path.find is None else path.find(envelope)


def reader_of(path: Path) -> Callable[[dict[str, Any]], Any]:
    """`lookup` of one path, for who asks often: a member of the data, which most paths are, is found in two steps."""
    if path.find is not None:
        return path.find
    if len(path.names) != 2:  # noqa: PLR2004  the data, and a name in it
        return partial(lookup, path)
    first, second = path.names

    def read(envelope: dict[str, Any]) -> Any:
        value = envelope.get(first)
        return value.get(second, MISSING) if value.__class__ is dict else lookup(path, envelope)

    return read
