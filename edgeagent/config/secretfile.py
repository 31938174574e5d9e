"""Files that hold secrets and certificates, which are exchanged while a program runs."""

from __future__ import annotations

from pathlib import Path

from edgeagent.config.tls_errors import is_tls_error

# What tells that a file is not the one it was: inode, size and time of change; None: it is not there.
FileState = tuple[int, int, int] | None


def secret_in(file: str) -> bytes:
    """The secret in a file, without the one newline that editors put at the end.

    Raises:
        OSError: it cannot be read.
    """
    secret = Path(file).read_bytes()
    return secret[:-2] if secret.endswith(b"\r\n") else secret.removesuffix(b"\n")


def state_of_file(file: str) -> FileState:
    """What changes when the file does."""
    try:
        found = Path(file).stat()  # follows links: Kubernetes exchanges secrets by them
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def why_unusable(exc: OSError | ValueError) -> str:
    """Why a file of certificates or keys cannot be used, in plain words."""
    if is_tls_error(exc):
        return (exc.reason or str(exc)).replace("_", " ").lower()
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
