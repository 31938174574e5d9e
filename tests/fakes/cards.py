"""A real file system of its own, mounted where an agent keeps its state; needs the right to mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted(directory: Path) -> Iterator[Path]:
    """The directory, made, with an empty file system in memory on it; let go of at the end."""
    directory.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def remount(card: Path, how: str) -> None:
    """Mount it again another way: `ro`, `rw`, or what its file system knows beside them."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(card)], check=True)
