"""The body of a webhook as its receiver wants it: JSON in which `{names}` stand for what is reported.

The text is read as JSON first, and the names are looked for in its strings. So a value can neither end a string nor add
a member, whatever a device or an engine wrote: what comes out is encoded again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.common.names import nearest

MAX_TEMPLATE_CHARS: Final = 16_384

# "{{" and "}}" are braces; "{" with anything but a name after it stays as it is.
_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")
_encoder = msgspec.json.Encoder()


class BodyTemplate:
    """A JSON text with names, compiled."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        """Compile it; `names`: those that are known.

        Raises:
            ValueError: it is too long, is not JSON, or has a name that is not known.
        """
        if len(text) > MAX_TEMPLATE_CHARS:
            raise ValueError(f"has {len(text)} characters, at most {MAX_TEMPLATE_CHARS} are taken")
        try:
            self._content = msgspec.json.decode(text)
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"is not JSON: {exc}") from exc
        self._names = names
        _mapped(self._content, self._checked)

    def render(self, values: Mapping[str, str]) -> bytes:
        """The body with these values; a name without one becomes an empty text."""
        return _encoder.encode(
            _mapped(self._content, lambda text: _TOKEN.sub(lambda found: _value(found, values), text))
        )

    def _checked(self, text: str) -> str:
        for found in _TOKEN.finditer(text):
            name = found[1]
            if name is not None and name not in self._names:
                meant = nearest(name, self._names)
                hint = f", did you mean {{{meant}}}?" if meant is not None else ""
                raise ValueError(f"has an unknown name {{{shown(name)}}}{hint} (known: {', '.join(self._names)})")
        return text


def _value(found: re.Match[str], values: Mapping[str, str]) -> str:
    return found[0][0] if found[1] is None else values.get(found[1], "")


def _mapped(content: Any, change: Callable[[str], str]) -> Any:
    """The same JSON with every string changed that is a value."""
    if isinstance(content, str):
        return change(content)
    if isinstance(content, list):
        return [_mapped(item, change) for item in content]
    if isinstance(content, dict):
        return {key: _mapped(item, change) for key, item in content.items()}
    return content
