"""Converts a decoded TOML document into Structs, finding every problem instead of the first (contract section 8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.common.names import nearest
from edgeagent.common.units import BitRate, Duration, Size
from edgeagent.config.tables import FilePath, MadePath
from edgeagent.errors import Problem

T = TypeVar("T", bound=msgspec.Struct)

_MAX_SHOWN_CHARS = 60


class ConfigReader:
    """Converts one document; owns the problems found so far. It raises for none of them.

    Args:
        base_dir: where relative names begin.
        file_dirs: where files with relative names are looked up, in this order; the default is `base_dir`.
        needs_files: whether a file that is not there is a problem. If not, it is taken to be in the first place.
    """

    def __init__(self, base_dir: Path, file_dirs: Sequence[Path] = (), *, needs_files: bool = True) -> None:
        self.problems: list[Problem] = []
        self._base_dir = base_dir
        self._file_dirs = file_dirs or (base_dir,)
        self._needs_files = needs_files

    def table(self, cls: type[T], data: object, path: str) -> T | None:
        """Build one Struct; None if any part of it cannot be built (`problems` says why)."""
        if not isinstance(data, dict):
            self._wrong(path, f"must be a table, is {_toml_type(data)}")
            return None
        fields = {field.encode_name: field for field in msgspec.structs.fields(cls)}
        refused: dict[str, str] = getattr(cls, "refused", {})  # known keys that are refused, and why
        for key in sorted(data.keys() - fields.keys()):
            self._wrong(_join(path, key), refused.get(key) or _unknown(key, fields))
        values: dict[str, Any] = {}
        before = len(self.problems)
        for key, field in fields.items():
            if key in data:
                values[field.name] = self._value(field.type, data[key], _join(path, key))
            elif field.required:
                self._wrong(_join(path, key), "is missing")
        return None if len(self.problems) > before else cls(**values)

    def _value(self, kind: Any, data: object, path: str) -> Any:
        kind = _list_in(kind) or kind
        inner = _struct_in(kind)
        if inner is not None and get_origin(kind) is list:
            if not isinstance(data, list):
                self._wrong(path, f"must be an array of tables ([[{path}]]), is {_toml_type(data)}")
                return None
            return [self.table(inner, item, f"{path}[{index}]") for index, item in enumerate(data)]
        if inner is not None:
            return self.table(inner, data, path)
        choices = _choices_in(kind)
        others = [(path, data, choices)] if choices and not _is_one_of(data, choices) else []
        if isinstance(data, list) and (each := _choices_of_items(kind)):
            others = [(f"{path}[{at}]", item, each) for at, item in enumerate(data) if not _is_one_of(item, each)]
        for place, value, words in others:
            self._wrong(place, _no_choice(value, words))
        if others:
            return None
        try:
            return msgspec.convert(data, kind, dec_hook=self._hook)
        except msgspec.ValidationError as exc:
            # msgspec gives the place within the value only in its text. Without it the key itself is named.
            reason, _, where = str(exc).partition(" - at `$")
            self._wrong(path + where.rstrip("`"), reason[:1].lower() + reason[1:])
            return None

    def _hook(self, kind: type, value: object) -> object:
        if kind is Duration:
            return _parsed(Duration, value)
        if kind is Size:
            return _parsed(Size, value)
        if kind is BitRate:
            return _parsed(BitRate, value)
        if kind is FilePath:
            return self._file(value)
        if kind is MadePath:
            return self._made(value)
        raise NotImplementedError(kind)

    def _file(self, value: object) -> FilePath:
        if not isinstance(value, str) or not value:
            raise ValueError("must be the name of a file")
        candidates = list(dict.fromkeys(directory / value for directory in self._file_dirs))  # an absolute name is one
        for candidate in candidates:
            if _is_file(candidate, needed=self._needs_files):
                return FilePath(candidate.absolute(), value)
        if not self._needs_files:
            return FilePath(candidates[0].absolute(), value)
        raise ValueError(f"no such file: {' or '.join(str(candidate) for candidate in candidates)}")

    def _made(self, value: object) -> MadePath:
        if not isinstance(value, str):
            raise ValueError("must be a path")  # noqa: TRY004  msgspec takes no other error
        return MadePath((self._base_dir / value).absolute() if value else "", value)

    def _wrong(self, path: str, reason: str) -> None:
        self.problems.append(Problem(path, reason))


def _is_file(path: Path, *, needed: bool) -> bool:
    try:
        return path.is_file()
    except OSError as exc:
        if needed:
            raise ValueError(f"{path} cannot be looked up: {exc.strerror}") from exc
        return False


def _parsed(kind: type[Duration | Size | BitRate], value: object) -> Duration | Size | BitRate:
    try:
        return kind.parse(value)
    except ValueError as exc:
        from edgeagent.config.meant import number_hint  # noqa: PLC0415  only for an error

        hint = number_hint(value) if isinstance(value, str) else ""
        raise ValueError(f"{exc}{hint}") from exc


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The Struct in `X`, `list[X]` or `X | None`."""
    candidates = get_args(kind) if get_origin(kind) is not Literal else ()
    for candidate in (kind, *candidates):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _unknown(key: str, known: Iterable[str]) -> str:
    from edgeagent.config.meant import key_hint  # noqa: PLC0415  only for an error

    return f"unknown key{key_hint(key, known)} (known here: {', '.join(known)})"


def _list_in(kind: Any) -> Any:
    """The list in `list[X] | None`, None for other types."""
    return next((candidate for candidate in get_args(kind) if get_origin(candidate) is list), None)


def _choices_in(kind: Any) -> tuple[Any, ...]:
    """The values in `Literal[...]`; empty for other types."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def _is_one_of(data: object, choices: Sequence[Any]) -> bool:
    return any(data.__class__ is choice.__class__ and data == choice for choice in choices)


def _choices_of_items(kind: Any) -> tuple[str, ...]:
    """The values in `tuple[Literal[...], ...]`; empty for other types."""
    return next((found for item in get_args(kind) if (found := _choices_in(item))), ())


def _no_choice(data: object, choices: Sequence[Any]) -> str:
    words = [str(choice) for choice in choices if choice != ""]
    if not isinstance(data, (str, int, float)) or isinstance(data, bool):
        return f"must be one of {', '.join(words)}; is {_toml_type(data)}"
    if str(data) in words:
        hint = " (write it without quotes)" if isinstance(data, str) else f' (write it in quotes: "{data}")'
    else:
        meant = nearest(str(data), words)
        hint = f" (did you mean {meant!r}?)" if meant is not None else ""
    return f"must be one of {', '.join(words)}; is {shown(repr(data), _MAX_SHOWN_CHARS)}{hint}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _toml_type(value: object) -> str:
    types = {dict: "a table", list: "an array", str: "a string", bool: "a boolean", int: "an integer", float: "a float"}
    return types.get(type(value), "a date or time")
