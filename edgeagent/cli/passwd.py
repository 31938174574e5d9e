"""`edgeagent passwd`: the passwords of devices that connect to the agent's own MQTT listener."""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path

from edgeagent.cli.options import say
from edgeagent.errors import CommandFailed
from edgeagent.listener.passwords import MAX_PASSWORD_BYTES, SALT_BYTES, line_of, name_of, name_problem, secret_of
from edgeagent.outbox.files import create_anew, keep_as

_NEW_FILE_MODE = 0o600


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "passwd",
        help="passwords of devices, for the MQTT listener",
        description="Set the password of a user in a file of users (mqtt.users_file); the file is made if need be. "
        "A running agent takes it up at the next login.",
    )
    parser.add_argument("file", help="the file of users")
    parser.add_argument("name", help="the user")
    parser.add_argument("--stdin", action="store_true", help="read the password from the first line of stdin")
    parser.add_argument("--delete", action="store_true", help="remove the user")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Set or remove it.

    Raises:
        CommandFailed: no such user to remove, no password, or the file cannot be read or written.
    """
    if args.stdin and args.delete:
        args.parser.error("--stdin and --delete exclude each other")
    if problem := name_problem(args.name):
        raise CommandFailed(f"passwd: the name {problem}")
    path = Path(args.file).resolve()  # a link stays one
    lines = _lines(path)
    kept = [line for line in lines if name_of(line) != args.name]
    if args.delete:
        if len(kept) == len(lines):
            raise CommandFailed(f"passwd: {args.name} is not in {path}")
        _write(path, kept)
        say(f"{args.name} removed from {path}")
        return 0
    password = _from_stdin() if args.stdin else _asked(args.name)
    line = line_of(args.name, secret_of(password, secrets.token_bytes(SALT_BYTES)))
    position = next((index for index, each in enumerate(lines) if name_of(each) == args.name), len(lines))
    is_new_file = not path.exists()
    _write(path, [*kept[:position], line, *kept[position:]])
    say(f"{args.name} {'added to' if position == len(lines) else 'changed in'} {path}")
    if is_new_file:
        say(f"{path} is new, and only you may read it: give it to the user or the group of the agent's service")
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise CommandFailed(f"passwd: {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise CommandFailed(f"passwd: {path} is not UTF-8 at byte {exc.start}") from exc


def _from_stdin() -> bytes:
    return _checked(sys.stdin.buffer.readline(MAX_PASSWORD_BYTES + 3).rstrip(b"\r\n"))


def _asked(name: str) -> bytes:
    if not sys.stdin.isatty():
        raise CommandFailed("passwd: give --stdin, since there is no terminal to ask at")
    password = _checked(getpass.getpass(f"password of {name}: ").encode())
    if getpass.getpass("the same again: ").encode() != password:
        raise CommandFailed("passwd: they differ; nothing was changed")
    return password


def _checked(password: bytes) -> bytes:
    if not 1 <= len(password) <= MAX_PASSWORD_BYTES:
        raise CommandFailed(f"passwd: a password has 1 to {MAX_PASSWORD_BYTES} bytes")
    return password


def _write(path: Path, lines: list[str]) -> None:
    """Put it in the file's place, with its owner and mode; never open to others."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        before = path.stat() if path.exists() else None
        descriptor = create_anew(temporary, _NEW_FILE_MODE)
        with os.fdopen(descriptor, "wb") as stream:
            if before is not None:
                os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & ~stat.S_IRWXO)
            stream.write("".join(f"{line}\n" for line in lines).encode())
            keep_as(stream, temporary, path)
    except OSError as exc:
        raise CommandFailed(f"passwd: {path} cannot be written: {exc.strerror}") from exc
    finally:
        with suppress(OSError):  # where it could not be made, it need not be removed
            temporary.unlink(missing_ok=True)
