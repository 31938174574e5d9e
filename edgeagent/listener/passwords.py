"""The lines of a file of users: `name:scrypt$n$r$p$salt$hash`, salt and hash in base64.

scrypt (RFC 7914) with n = 2**14, r = 8 takes 16 MiB and about 50 ms. A line may ask for less, and never for more
memory: whoever writes one does not decide what a login costs this machine.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final

import msgspec

from edgeagent.common.foreign import shown

MAX_MEMORY_BYTES: Final = 16 << 20
MAX_PASSWORD_BYTES: Final = 1024
SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_COST, _BLOCK, _PARALLEL = 1 << 14, 8, 1
_MIN_COST = 1 << 10
_MAX_PARALLEL = 4
_MAX_NAME_CHARS = 128
_BYTES_OF_A_BLOCK = 128
_WORK_BYTES = 1 << 20  # what OpenSSL wants beside the memory that the parameters take
_NUMBER = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
_FORM = "must be name:scrypt$n$r$p$salt$hash, as `edgeagent passwd` writes it"


class Secret(msgspec.Struct, frozen=True):
    """What is kept of a password."""

    cost: int
    block: int
    parallel: int
    salt: bytes
    hash: bytes

    def matches(self, password: bytes) -> bool:
        """Whether it is this password. Takes its time and memory whether it is or not, and tells nothing by it."""
        return hmac.compare_digest(_scrypt(password, self.salt, self.cost, self.block, self.parallel), self.hash)


def _scrypt(password: bytes, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    memory = MAX_MEMORY_BYTES + _WORK_BYTES
    return hashlib.scrypt(password, salt=salt, n=cost, r=block, p=parallel, maxmem=memory, dklen=_HASH_BYTES)


def secret_of(password: bytes, salt: bytes) -> Secret:
    """What is to be kept of a new password; `salt`: `SALT_BYTES` of chance."""
    return Secret(_COST, _BLOCK, _PARALLEL, salt, _scrypt(password, salt, _COST, _BLOCK, _PARALLEL))


def nobodys(salt: bytes) -> Secret:
    """What an unknown user's password is compared with, so that it takes as long as a known one's."""
    return Secret(_COST, _BLOCK, _PARALLEL, salt, bytes(_HASH_BYTES))


def line_of(name: str, secret: Secret) -> str:
    """The line for a user, without its end."""
    salt, digest = (base64.b64encode(data).decode() for data in (secret.salt, secret.hash))
    return f"{name}:scrypt${secret.cost}${secret.block}${secret.parallel}${salt}${digest}"


def name_problem(name: str) -> str | None:
    """Why nobody can have this name, or None when somebody can."""
    if not 1 <= len(name) <= _MAX_NAME_CHARS:
        return f"must have 1 to {_MAX_NAME_CHARS} characters, has {len(name)}"
    if not name.isprintable() or ":" in name or name != name.strip() or name.startswith("#"):
        return f"must be printable, without ':', a '#' at its start and spaces at its ends; is {shown(name)}"
    return None


def name_of(line: str) -> str | None:
    """Whose line this is; None for one that is empty or a comment."""
    return line.partition(":")[0] if line.strip() and not line.startswith("#") else None


def secret_in(line: str) -> Secret:
    """What a user's line says.

    Raises:
        ValueError: it is not of the form; the text says what is.
    """
    name, colon, rest = line.partition(":")
    parts = rest.strip().split("$")
    if not colon or len(parts) != 6 or parts[0] != "scrypt":  # noqa: PLR2004  the form
        raise ValueError(_FORM)
    if problem := name_problem(name):
        raise ValueError(f"the name {problem}")
    if not all(_NUMBER.fullmatch(part) for part in parts[1:4]):
        raise ValueError(_FORM)
    cost, block, parallel = (int(part) for part in parts[1:4])
    if cost < _MIN_COST or cost & (cost - 1) or parallel > _MAX_PARALLEL:
        raise ValueError(f"n must be a power of 2 from {_MIN_COST} on, p at most {_MAX_PARALLEL}")
    if _BYTES_OF_A_BLOCK * cost * block > MAX_MEMORY_BYTES:
        raise ValueError(f"n = {cost}, r = {block} take more than {MAX_MEMORY_BYTES >> 20} MiB for each login")
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[4:])
    except binascii.Error:
        raise ValueError(_FORM) from None
    if len(salt) < SALT_BYTES // 2 or len(digest) != _HASH_BYTES:
        raise ValueError(f"the salt must have {SALT_BYTES // 2} bytes or more, the hash {_HASH_BYTES}")
    return Secret(cost, block, parallel, salt, digest)


def read_users(text: str) -> tuple[dict[str, Secret], list[str]]:
    """All users of a file, and what is wrong in it, each with its line's number. Comments begin with `#`."""
    users: dict[str, Secret] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        name = name_of(line)
        if name is None:
            continue
        try:
            secret = secret_in(line)
        except ValueError as exc:
            problems.append(f"line {number}: {exc}")
            continue
        if name in users:
            problems.append(f"line {number}: {shown(name)} stands there twice")
        users[name] = secret
    return users, problems
