"""The names that edgeagent accepts and makes: sources, event ids, agent ids, globs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from edgeagent.common.foreign import shown

_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_NAME_PREFIX = re.compile(r"[a-z0-9][-.a-z0-9]*", re.ASCII)
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_MAX_SOURCE_CHARS = 128
_QUERY = "query"
_MAX_SUBDOMAIN_CHARS = 253
_FORBIDDEN_IN_SOURCE = frozenset("#+\0")


@lru_cache(maxsize=4096)  # the same few devices send again and again: 0.4 of 31 us (`benchmarks path`, CPU an event)
def source_problem(source: str) -> str | None:
    """Why this text is not a source, None if it is one: 1-128 printable characters, no `#`, `+`, NUL.

    It may contain spaces, as in topics of rooms ("zigbee2mqtt/Living Room"), but not at an end, where they are
    invisible.
    """
    if not 1 <= len(source) <= _MAX_SOURCE_CHARS:
        return f"must have 1 to {_MAX_SOURCE_CHARS} characters, has {len(source)}"
    if not source.isprintable() or not _FORBIDDEN_IN_SOURCE.isdisjoint(source):
        return f"must be printable, without '#', '+' or NUL, is {shown(source)}"
    if source[0] == " " or source[-1] == " ":
        return f"must not begin or end with a space, is '{shown(source)}'"
    return None


def event_id_problem(event_id: str) -> str | None:
    """Why this text is not an event id, None if it is one: 1-128 printable characters."""
    if not 1 <= len(event_id) <= _MAX_SOURCE_CHARS:
        return f"must have 1 to {_MAX_SOURCE_CHARS} characters, has {len(event_id)}"
    if not event_id.isprintable():
        return f"must be printable, is {shown(event_id)}"
    return None


def is_name_prefix(text: str) -> bool:
    """Whether a workflow's name may start with it (DNS-1123 subdomain); trailing `-` and `.` are removed later."""
    return _NAME_PREFIX.fullmatch(text) is not None and ".-" not in text and "-." not in text and ".." not in text


def is_dns_label(text: str) -> bool:
    """Whether it is a DNS-1123 label, at most 63 characters: rule names, namespaces."""
    return _DNS_LABEL.fullmatch(text) is not None


def is_agent_id(text: str) -> bool:
    """Whether it is a DNS-1123 label, but not the last level of the shared topic `argo/workflows/status/query`."""
    return is_dns_label(text) and text != _QUERY


def is_dns_subdomain(text: str, max_chars: int = _MAX_SUBDOMAIN_CHARS) -> bool:
    """Whether it is a DNS-1123 subdomain: names of workflows (at most 63 characters) and templates."""
    return len(text) <= max_chars and _DNS_SUBDOMAIN.fullmatch(text) is not None


def agent_id_from_host(host: str) -> str:
    """The agent id made from a host's name: lower case, every other character becomes `-`."""
    text = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")[:63].rstrip("-")
    return text if is_agent_id(text) else "gateway"


def nearest(text: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, None if none is close."""
    from difflib import get_close_matches  # noqa: PLC0415  only for error messages

    by_letters = {word.casefold(): word for word in known}
    found = get_close_matches(text.casefold(), by_letters, 1)
    return by_letters[found[0]] if found else None


class Glob:
    """A pattern in which `*` stands for any characters, including `/`, and nothing else is special.

    Matching takes time linear in pattern and text, so no text from outside can make it slow.
    """

    __slots__ = ("_exact", "_first", "_last", "_middle", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        first, *rest = pattern.split("*")
        self._exact = not rest
        self._first = first
        self._last = rest.pop() if rest else ""
        self._middle = tuple(part for part in rest if part)

    def matches(self, text: str) -> bool:
        """Whether the whole text matches the pattern."""
        if self._exact:
            return text == self._first
        if len(text) < len(self._first) + len(self._last):
            return False
        if not text.startswith(self._first) or not text.endswith(self._last):
            return False
        position, end = len(self._first), len(text) - len(self._last)
        for part in self._middle:
            found = text.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True
