"""Fetches the locked wheels for a machine that need not be this one, by their hashes, and unpacks them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from packages.errors import BuildFailed
from packages.suites import MACHINES, Suite

# glibc 2.17 and 2.28: older than that of any release we build for.
_GLIBC = ("2014", "_2_17", "_2_28", "_2_31")
# What no program of ours reads: types, how pip installed it, and PySocks' handler for urllib.
_LEFT_OUT = (
    "sockshandler.py",
    ".pyi",
    "py.typed",
    "/RECORD",
    "/WHEEL",
    "/INSTALLER",
    "/REQUESTED",
    "/top_level.txt",
    "/entry_points.txt",
)


def fetch_pure(locked: Mapping[str, str], names: Iterable[str], suite: Suite, into: Path) -> list[Path]:
    """The wheels without compiled code, which are the same for all machines."""
    return _fetch(locked, names, suite, ["--platform", "any", "--implementation", "py", "--abi", "none"], into)


def fetch_compiled(
    locked: Mapping[str, str], names: Iterable[str], suite: Suite, architecture: str, into: Path
) -> list[Path]:
    """The wheels for one machine.

    Raises:
        BuildFailed: there is none for it.
    """
    options = ["--implementation", "cp"]
    for glibc in _GLIBC:
        options += ["--platform", f"manylinux{glibc}_{MACHINES[architecture]}"]
    return _fetch(locked, names, suite, options, into)


def fetch_source(locked: Mapping[str, str], name: str, into: Path) -> Path:
    """The sdist of a distribution, where there is no wheel."""
    _download(locked, [name], ["--no-binary", ":all:"], into)
    (found,) = into.glob(f"{name}-*.tar.gz")
    return found


def unpack(wheels: Iterable[Path], into: Path) -> None:
    """Put them side by side, as pip would, without what no program reads."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if not member.endswith(("/", *_LEFT_OUT)):
                    archive.extract(member, into)


def build_own(root: Path, into: Path) -> Path:
    """The wheel of this tree."""
    run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(into)], cwd=root)
    (found,) = into.glob("edgeagent-*.whl")
    return found


def run(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    """Run a program.

    Raises:
        BuildFailed: it is missing, or it failed; with the end of what it said.
    """
    if shutil.which(command[0]) is None:
        raise BuildFailed(f"{command[0]} is missing: docs/packages.md says what to install")
    done = subprocess.run(command, cwd=cwd, env=env, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BuildFailed(f"{' '.join(command)}\n{(done.stdout + done.stderr).strip()[-3000:]}")


def _fetch(
    locked: Mapping[str, str], names: Iterable[str], suite: Suite, options: Sequence[str], into: Path
) -> list[Path]:
    version = "".join(map(str, suite.python))
    _download(locked, names, ["--only-binary", ":all:", "--python-version", version, *options], into)
    return sorted(into.glob("*.whl"))


def _download(locked: Mapping[str, str], names: Iterable[str], options: Sequence[str], into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    wanted = into / "requirements.txt"
    wanted.write_text("".join(f"{locked[name]}\n" for name in sorted(names)), "utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run([*pip, "--require-hashes", "--requirement", str(wanted), *options, "--dest", str(into)])
