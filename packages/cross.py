"""Compiles msgspec for 32-bit ARM, for which it has no wheel: one C file, by Debian's cross compiler.

Python's headers are those of the release and machine that the package is for. They are fetched by apt from Debian, by
its signature, into a directory of their own: this machine's package lists and architectures stay as they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from packages.errors import BuildFailed
from packages.suites import Suite
from packages.wheels import run

TRIPLET = "arm-linux-gnueabihf"
_COMPILER = f"{TRIPLET}-gcc"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# As msgspec's own build has them, and as Debian hardens its libraries.
_FLAGS = ("-shared", "-fPIC", "-O2", "-g0", "-DNDEBUG", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2")
_LINKED = ("-Wl,-z,relro,-z,now", "-Wl,--strip-all", "-Wl,--build-id=none")
# Debian 13 counts seconds in 64 bits on 32-bit machines too.
_TIME64 = ("-D_FILE_OFFSET_BITS=64", "-D_TIME_BITS=64")


def compile_msgspec(sdist: Path, suite: Suite, work: Path, into: Path) -> None:
    """Put the package `msgspec`, compiled for armhf, and what it says of itself into a directory.

    Raises:
        BuildFailed: the compiler or Debian's keys are missing, or the compiler finds a fault.
    """
    if shutil.which(_COMPILER) is None:
        raise BuildFailed(f"{_COMPILER} is missing: apt install gcc-{TRIPLET} libc6-dev-armhf-cross")
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    source = work / sdist.name.removesuffix(".tar.gz")
    headers = _headers(suite, work / "apt")
    major, minor = suite.python
    target = into / "msgspec"
    target.mkdir(parents=True)
    library = target / f"_core.cpython-{major}{minor}-{TRIPLET}.so"
    run(
        [
            *(_COMPILER, *_FLAGS, *(_TIME64 if suite.time64 else ())),
            *("-I", str(headers / f"python{major}.{minor}"), "-I", str(headers)),
            *(*_LINKED, "-o", str(library), "_core.c", "-lm"),
        ],
        cwd=source / "src/msgspec",
    )
    for module in (source / "src/msgspec").glob("*.py"):
        shutil.copy(module, target)
    about = into / f"{source.name}.dist-info"
    (about / "licenses").mkdir(parents=True)
    shutil.copy(source / "PKG-INFO", about / "METADATA")
    shutil.copy(source / "LICENSE", about / "licenses/LICENSE")


def mirror() -> str:
    """The mirror of Debian that this machine uses.

    Raises:
        BuildFailed: apt knows none.
    """
    wanted = ["Created-By: Packages", "Origin: Debian", "Label: Debian"]
    command = ["apt-get", "indextargets", "--format", "$(SITE)", *wanted]
    found = subprocess.run(command, check=False, capture_output=True, text=True).stdout.split()
    if not found:
        raise BuildFailed("apt knows no mirror of Debian: run apt-get update")
    return found[0]


def _headers(suite: Suite, directory: Path) -> Path:
    """The include directory of the release's Python for armhf."""
    if not _KEYS.is_file():
        raise BuildFailed(f"{_KEYS} is missing: apt install debian-archive-keyring")
    for each in ("state/lists/partial", "cache/archives/partial", "etc"):
        (directory / each).mkdir(parents=True)
    (directory / "state/status").touch()
    (directory / "etc/sources.list").write_text(f"deb [signed-by={_KEYS}] {mirror()} {suite.name} main\n", "utf-8")
    settings = directory / "apt.conf"
    settings.write_text(
        f'Dir "{directory}";\nDir::State "{directory}/state";\nDir::State::status "{directory}/state/status";\n'
        f'Dir::Cache "{directory}/cache";\nDir::Etc "{directory}/etc";\nDir::Etc::sourceparts "-";\n'
        'APT::Architecture "armhf";\nAPT::Architectures { "armhf"; };\nAcquire::Languages "none";\n'
        'APT::Sandbox::User "root";\n',
        "utf-8",
    )
    env = {**os.environ, "APT_CONFIG": str(settings)}
    run(["apt-get", "update", "--quiet=2"], env=env)
    major, minor = suite.python
    run(["apt-get", "download", f"libpython{major}.{minor}-dev"], cwd=directory, env=env)
    (package,) = directory.glob("libpython*.deb")
    run(["dpkg-deb", "--extract", str(package), str(directory / "root")])
    return directory / "root/usr/include"
