"""Makes text from outside safe to show to a person: on a terminal, in a log line, in an error.

A device, a broker or an engine chooses its bytes freely. Shown unchanged they could move the cursor, rename the
terminal, hide the text before them (bidirectional marks) or begin a line of their own.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

MAX_SHOWN_CHARS: Final = 200


def escaped(text: str) -> str:
    r"""The whole text on one line; unprintable characters are written as Python does (`\n`, `\x1b`, `\u202e`)."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def json_line(value: Any) -> str:
    r"""A value as JSON on one line: the same JSON, with unprintable characters in its texts written as `\uXXXX`."""
    try:
        text = msgspec.json.encode(value, enc_hook=str).decode()
    except UnicodeEncodeError:  # a lone surrogate, from a file name that is not UTF-8
        return _ascii(msgspec.to_builtins(value, enc_hook=str))
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _ascii(sign)[1:-1] for sign in text)


def _ascii(value: Any) -> str:
    import json  # noqa: PLC0415  0.3 MiB, for what hardly ever comes

    return json.dumps(value, separators=(",", ":"))


def shown(text: str, max_chars: int = MAX_SHOWN_CHARS) -> str:
    """The text `escaped`, and cut to `max_chars`; a cut text ends with the number of its characters."""
    if len(text) > max_chars:
        ending = f"… ({len(text)} characters)"
        return escaped(text[: max(max_chars - len(ending), 0)])[: max(max_chars - len(ending), 0)] + ending
    safe = escaped(text)
    return safe if len(safe) <= max_chars else safe[: max_chars - 1] + "…"


def line(text: str, max_chars: int = MAX_SHOWN_CHARS) -> str:
    """Like `shown`, for a text of sentences: line breaks and other blanks become single spaces."""
    return shown(" ".join(text.split()), max_chars)
