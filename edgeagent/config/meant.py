"""Guesses what was meant in a configuration that cannot be read: a hint with each error, never a correction."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from edgeagent.common.names import nearest

_BYTE_ORDER_MARK = "\ufeff"
_TYPOGRAPHIC = re.compile(r"""["'\u201c-\u201f\u2018-\u201b\u00ab\u00bb\u2039\u203a\u00b4\u2032\u2033]""")
_PLAIN_QUOTES = frozenset("\"'")
_BLANKS = re.compile("[\u00a0\u1680\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff]")
_KEY = r"[A-Za-z0-9_.-]+"
_VALUE_OF = re.compile(rf"\s*{_KEY}\s*=\s*(.*)", re.DOTALL)
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+\s*(?:#.*)?")
_WITHOUT_EQUALS = re.compile(rf"\s*({_KEY})\s*(?::\s*|\s+)([^=\s].*)?", re.DOTALL)
_TABLE = re.compile(r"\s*\[{1,2}")
_WORDS = {
    "true": "true",
    "yes": "true",
    "on": "true",
    "false": "false",
    "no": "false",
    "off": "false",
    "none": "",
    "null": "",
    "nil": "",
}
_SCHEMES = {
    "tcp": "mqtt",
    "mqtt+tcp": "mqtt",
    "ssl": "mqtts",
    "tls": "mqtts",
    "mqtt+ssl": "mqtts",
    "mqtt+tls": "mqtts",
    "mqttss": "mqtts",
    "secure-mqtt": "mqtts",
    "http": "ws",
    "https": "wss",
    "websocket": "ws",
}
_TLS_PORT = 8883
_LARGEST_PORT = 65535
_BARE_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/?#@\[\]]+)(?::(\d{1,5}))?/?")
_MAX_QUOTED_CHARS = 60


def encoding_hint(data: bytes) -> str:
    """What a file that is not UTF-8 probably is, judging by its first bytes; "" if unknown."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return "it is UTF-16, as some editors write it: save it as UTF-8"
    return "save it as UTF-8"


def toml_hint(text: str, line_number: int, column: int) -> str:
    """What was meant in a line that TOML cannot parse at that column (both from 1); "" if unknown."""
    if text.startswith(_BYTE_ORDER_MARK):
        return "the file begins with a byte-order mark, as some editors write it: save it as UTF-8 without one"
    lines = text.split("\n")
    line = lines[line_number - 1].rstrip("\r") if line_number <= len(lines) else ""
    if "\r" in line:
        return "its lines end in CR alone: save it with the line ends of Unix or Windows"
    if hint := _sign_hint(line, column):
        return hint
    if match := _VALUE_OF.fullmatch(line):
        return _value_hint(match[1].strip())
    if (match := _WITHOUT_EQUALS.fullmatch(line)) and not _TABLE.match(line):
        return f"a value follows its key and =: write {match[1]} = …"
    return ""


def _sign_hint(line: str, column: int) -> str:
    """Characters that only look like those of TOML, where the error is or outside plain quotes before it."""
    for match in _TYPOGRAPHIC.finditer(line):
        if match[0] in _PLAIN_QUOTES:  # a string follows, in which every character is allowed
            break
        return f'{match[0]} is a typographic quote: write "'
    if blank := _BLANKS.search(line[: column + 1]):
        return f"there is a special space (U+{ord(blank[0]):04X}) in the line: write an ordinary one"
    return ""


def _value_hint(value: str) -> str:
    if _DECIMAL_COMMA.fullmatch(value):
        return f"a decimal point is a point: write {value.partition('#')[0].strip().replace(',', '.')}"
    word = _WORDS.get(value.partition("#")[0].strip().lower())
    if word:
        return f"write {word}"
    if word == "":
        return "TOML has no such value: remove the key"
    if '"' in value and "\\" in value:
        return "\\ is special between double quotes: write single quotes, or \\\\"
    if value and value[0] not in "\"'[{" and not value[0].isdigit() and len(value) <= _MAX_QUOTED_CHARS:
        return f'a text needs quotes: write "{value}"'
    return ""


def number_hint(text: str) -> str:
    """An addition to an error about a number with a unit, such as "1,5s"; "" unless it has a decimal comma."""
    return f'; a decimal point is a point: write "{text.replace(",", ".")}"' if re.search(r"\d,\d", text) else ""


def key_hint(key: str, known: Iterable[str]) -> str:
    """A known key that this one resembles, as a question; "" if there is none."""
    meant = nearest(key.replace("-", "_"), known)
    return f", did you mean {meant}?" if meant is not None else ""


def broker_url_hint(url: str) -> str:
    """The address that an invalid one was probably meant to be; "" if unknown."""
    for quote in ('"', "'"):
        url = url.removeprefix(quote).removesuffix(quote)
    inner = _TYPOGRAPHIC.sub("", _BLANKS.sub("", url)).strip()
    scheme, separator, rest = inner.partition("://")
    if not separator:
        bare = inner.removeprefix("mqtt:").removeprefix("mqtts:").strip("/")
        match = _BARE_ADDRESS.fullmatch(bare)
        if match is None or int(match[2] or 1) > _LARGEST_PORT:
            return ""
        is_tls = inner.startswith("mqtts:") or match[2] == str(_TLS_PORT)
        return f"{'mqtts' if is_tls else 'mqtt'}://{bare}"
    scheme = _SCHEMES.get(scheme.lower(), scheme.lower())
    if scheme not in {"mqtt", "mqtts", "ws", "wss"}:
        return ""
    if scheme == "mqtt" and rest.rstrip("/").endswith(f":{_TLS_PORT}"):
        scheme = "mqtts"
    meant = f"{scheme}://{rest}"
    try:
        parts = urlsplit(meant)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return ""
    return meant if usable and meant != url else ""
