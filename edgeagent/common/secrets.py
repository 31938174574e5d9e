"""Takes secrets out of texts that leave the machine: known ones wherever they stand, and what looks like one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MASK: Final = "***"
# A shorter one would be found in words that have nothing to do with it.
MIN_SECRET_CHARS: Final = 4

_IN_URL = re.compile(r"(?<=://)[^/\s\"'@]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[-A-Za-z0-9._~+/=]{4,}")
_NAMED = re.compile(
    r"""(?ix) ( (?: password | passwd | secret | token | api[_-]?key | credentials? ) \\?["']? \s* [=:] \s* )
    (?: (\\?") [^"]* " | (') [^']* ' | [^\s"',;}]+ )"""
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_FILE = re.compile(r"(?i)_file\\?[\"']?\s*[=:]\s*\Z")
_SECRET_NAME = re.compile(r"(?i)passw|secret|token|api[-_]?key|credential|private")


def is_secrets_name(name: str) -> bool:
    """Whether a value of this name may be a secret. The name of a file that holds one is none."""
    return bool(_SECRET_NAME.search(name)) and not name.endswith(("_file", "Ref", "Name"))


def without_secrets(text: str, known: Iterable[str] = ()) -> str:
    """The text with a mask in the place of each secret. `known`: the secrets themselves, as far as they are known."""
    for secret in sorted({each for each in known if len(each) >= MIN_SECRET_CHARS}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _PEM.sub(MASK, text)
    text = _IN_URL.sub(f"{MASK}@", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    return _NAMED.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    """What follows a secret's name, masked within its quotes, so that JSON stays JSON."""
    if _FILE.search(found[1]):
        return found[0]
    quote = found[2] or found[3] or ""
    return f"{found[1]}{quote}{MASK}{quote}"
