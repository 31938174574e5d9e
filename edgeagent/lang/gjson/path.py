r"""Paths in gjson's syntax (docs/paths.md), compiled.

`body.temp`, `body.readings.0.value`, `body.a\.b` (a dot in a name), `body.readings.#(value>5)#.name`. Paths of only
names and indexes, as nearly all are, are followed here; `gjson.compiler` compiles all others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from edgeagent.lang.gjson.compiler import compile_find
from edgeagent.lang.gjson.steps import Find
from edgeagent.lang.gjson.values import MISSING, text_of

__all__ = [
    "MISSING", "Path", "compile_path", "lookup", "reader_of", "text_of",
]  # fmt: skip

# Names without a character that is special anywhere, or with every such character escaped.
_PLAIN: Final = re.compile(r"(?:[^\\.|*?#@!\[\]{}]|\\[^0-9])++(?:\.(?:[^\\.|*?#@!\[\]{}]|\\[^0-9])++)*+", re.DOTALL)
_DOT: Final = re.compile(r"((?:[^\\.]|\\.)+)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class Path:
    """A path, compiled by `compile_path`. `text`: as written, for messages."""

    __slots__ = ("find", "names", "text")

    def __init__(self, text: str, names: tuple[str, ...], find: Find | None) -> None:
        self.text = text
        self.names = names
        self.find = find  # None: the path consists of its names

    def __repr__(self) -> str:
        return f"Path({self.text!r})"


def compile_path(text: str) -> Path:
    """Compile a path.

    Raises:
        ValueError: the path is empty, has an empty part, or uses unsupported syntax; the text says which.
    """
    try:
        find = compile_find(text)
    except ValueError as exc:
        raise ValueError(f"{text!r}: {exc}" if text else "a path is empty: it has an empty part") from None
    if not _PLAIN.fullmatch(text):
        return Path(text, (), find)
    return Path(text, tuple(_ESCAPE.sub(r"\1", part) for part in _DOT.findall(text)), None)


def lookup(path: Path, envelope: Any) -> Any:
    """The value at a path, or `MISSING`. `envelope` is decoded JSON: dict, list, str, int, float, bool, None.

    It takes time linear in the data, and never recurses with it.
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
    """`lookup` for one path that is used often: a member of the data, as in most paths, is found in two steps."""
    if path.find is not None:
        return path.find
    if len(path.names) != 2:  # noqa: PLR2004  the data, and a name in it
        return partial(lookup, path)
    first, second = path.names

    def read(envelope: dict[str, Any]) -> Any:
        value = envelope.get(first)
        return value.get(second, MISSING) if value.__class__ is dict else lookup(path, envelope)

    return read
