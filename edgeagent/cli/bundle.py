"""The archive of `edgeagent doctor --bundle`: what a fault report needs, without secrets."""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import tarfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import msgspec

import edgeagent
from edgeagent.common.finding import Finding
from edgeagent.common.secrets import without_secrets
from edgeagent.config.redacted import known_secrets, redacted
from edgeagent.errors import CommandFailed, StorageFailed
from edgeagent.outbox.files import create_anew, keep_as
from edgeagent.outbox.owner import as_ourselves

_FILE_MODE = 0o600
_FOLDER = "edgeagent-bundle"
# Debian installs Mosquitto in a directory that is only in root's PATH.
_SYSTEM_PROGRAMS = "/usr/sbin"
_PROGRAM_TIMEOUT_S = 5.0
_README = """\
What `edgeagent doctor --bundle` wrote about edgeagent {version} on this machine, for a fault report.

config.json     every key with its value in force. Passwords, tokens, constants of rules and workflows are masked.
findings.jsonl  what `edgeagent doctor` found
stats.json      `GET /v1/stats` of the running agent; missing when none answered
outbox.json     what waits on the disk
log.txt         the last log lines of the running agent; missing when none answered
versions.json   of Python, its packages, the system and Mosquitto

What looks like a secret, and what the configuration's files of secrets hold, is replaced by ***. Names of devices,
rules, topics and hosts are in it, and a log line or the last error of a rule may quote what a device sent. Read it
before you pass it on.
"""


def refuse_existing(path: Path) -> None:
    """Make sure that nothing is overwritten.

    Raises:
        CommandFailed: there is a file of this name.
    """
    if os.path.lexists(path):
        raise CommandFailed(f"{path}: exists; a bundle is always a new file")


def write(
    path: Path,
    config: msgspec.Struct,
    findings: Sequence[Finding],
    documents: Mapping[str, Any],
    log_lines: Sequence[str] | None,
) -> None:
    """Write the archive: whole and synced under its name, or not at all.

    Args:
        path: a new file, for its owner only.
        config: as it was read.
        findings: what the doctor found.
        documents: more files for it by their names without `.json`; None for what could not be had.
        log_lines: the agent's; None if none answered.

    Raises:
        CommandFailed: a file of this name exists.
        StorageFailed: the disk refuses.
    """
    texts = {
        "README.txt": _README.format(version=edgeagent.__version__),
        "config.json": _json(redacted(config)),
        "findings.jsonl": "".join(f"{msgspec.json.encode(finding).decode()}\n" for finding in findings),
        "versions.json": _json(versions()),
        **{f"{name}.json": _json(document) for name, document in documents.items() if document is not None},
    }
    if log_lines is not None:
        texts["log.txt"] = "".join(f"{line}\n" for line in log_lines)
    with as_ourselves():
        known = known_secrets(config)
        _keep(path, {name: without_secrets(text, known) for name, text in texts.items()})


def versions() -> dict[str, Any]:
    """The versions of everything that runs this program."""
    with suppress(OSError):
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return {
        "edgeagent": edgeagent.__version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "packages": {found.name: found.version for found in sorted(distributions(), key=lambda each: each.name)},
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()).strip(),
        "system": system,
        "mosquitto": _mosquitto(),
    }


def _mosquitto() -> str | None:
    """The first line of Mosquitto's help, which names its version; None if it is not on this machine."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SYSTEM_PROGRAMS)
    if program is None:
        return None
    try:
        said = subprocess.run([program, "-h"], capture_output=True, timeout=_PROGRAM_TIMEOUT_S, check=False).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as exc:
        return f"cannot be asked: {type(exc).__name__}"
    return said.decode("utf-8", "replace").partition("\n")[0]


def _json(document: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


def _keep(path: Path, texts: Mapping[str, str]) -> None:
    temporary = path.with_name(path.name + ".part")
    refuse_existing(path)
    try:
        with os.fdopen(create_anew(temporary, _FILE_MODE), "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w:gz") as archive:
                for name, text in texts.items():
                    content = text.encode("utf-8", "backslashreplace")
                    member = tarfile.TarInfo(f"{_FOLDER}/{name}")
                    member.size, member.mode, member.mtime = len(content), _FILE_MODE, int(time.time())
                    archive.addfile(member, io.BytesIO(content))
            refuse_existing(path)
            keep_as(stream, temporary, path)
    except OSError as exc:
        raise StorageFailed("write", str(temporary), exc.strerror or str(exc)) from exc
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
