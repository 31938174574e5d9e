"""Text from outside, made safe to show to a person: on a terminal, in a log line, in an error.

A device, a broker or an engine chooses its bytes freely. Shown as they are they could move the cursor, rename the
window, hide what stands before them (bidirectional marks) or begin a line of their own.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

MAX_SHOWN_CHARS: Final = 200


def escaped(text: str) -> str:
    r"""The whole text on one line, whatever is not printable written as Python writes it (`\n`, `\x1b`, `\u202e`)."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def json_line(value: Any) -> str:
    r"""A value as JSON on one line: the same JSON, with whatever is not printable in its texts written as `\uXXXX`."""
    try:
        text = msgspec.json.encode(value, enc_hook=str).decode()
    except UnicodeEncodeError:  # a lone surrogate, from a file name that is no UTF-8
        return json.dumps(msgspec.to_builtins(value, enc_hook=str), separators=(",", ":"))
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)


def shown(text: str, max_chars: int = MAX_SHOWN_CHARS) -> str:
    """The text `escaped`, and no longer than `max_chars`: a cut one ends with how many characters it had."""
    if len(text) > max_chars:
        ending = f"… ({len(text)} characters)"
        return escaped(text[: max(max_chars - len(ending), 0)])[: max(max_chars - len(ending), 0)] + ending
    safe = escaped(text)
    return safe if len(safe) <= max_chars else safe[: max_chars - 1] + "…"


def line(text: str, max_chars: int = MAX_SHOWN_CHARS) -> str:
    """As `shown`, of a text in sentences: its line breaks and what else is blank become single spaces."""
    return shown(" ".join(text.split()), max_chars)
