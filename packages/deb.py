"""Makes one `.deb` of a tree of files: control data, scripts, checksums. The same input gives the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from packages.wheels import run

FILES = Path(__file__).parent / "files"
MAINTAINER = "The edgeagent developers <developers@edgeagent.invalid>"
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
# The parts of a script, in this order: units are stopped before anything else and started after everything else.
_PARTS = {
    "preinst": ("own",),
    "postinst": ("own", "python", "units"),
    "prerm": ("units", "own", "python"),
    "postrm": ("units", "own"),
}
_SHEBANG = "#!/bin/sh\nset -e\n"


class Package(NamedTuple):
    """What a package is called, needs and says. `units`: its systemd units. `modules`: where those of Python are."""

    name: str
    version: str
    architecture: str
    depends: Sequence[str]
    summary: str
    description: str
    recommends: Sequence[str] = ()
    suggests: Sequence[str] = ()
    units: Sequence[str] = ()
    modules: str = ""
    conffiles: Sequence[str] = ()

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{self.name}_{self.version}_{self.architecture}.deb"


def make(package: Package, tree: Path, changes: str, epoch: int, into: Path) -> Path:
    """Add to a tree what every package has, and pack it. `changes`: the release's notes; `epoch`: its time.

    Raises:
        BuildFailed: dpkg-deb is missing, or refuses.
    """
    _add_changes(package, tree, changes, epoch)
    control = tree / "DEBIAN"
    control.mkdir()
    for script in _SCRIPTS:
        if text := maintainer_script(package, script):
            (control / script).write_text(text, "utf-8")
    if package.conffiles:
        (control / "conffiles").write_text("".join(f"{each}\n" for each in package.conffiles), "utf-8")
    content = sorted(file for file in tree.rglob("*") if file.is_file() and control not in file.parents)
    sums = (f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(tree)}\n" for file in content)  # noqa: S324  dpkg's own format; it is no protection
    (control / "md5sums").write_text("".join(sums), "utf-8")
    size = sum(-(-file.stat().st_size // 1024) for file in content) + sum(
        1 for each in tree.rglob("*") if each.is_dir()
    )
    (control / "control").write_text(_control(package, size), "utf-8")
    _normalize(tree, epoch)
    target = into / package.file_name
    options = ["--root-owner-group", "--uniform-compression", "-Zxz", "--threads-max=1"]
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    run(["dpkg-deb", *options, "--build", str(tree), str(target)], env=env)
    return target


def maintainer_script(package: Package, script: str) -> str:
    """One of the four scripts that dpkg runs, or "" if the package needs none."""
    names = {
        "own": package.name,
        "python": "python" if package.modules else "",
        "units": "units" if package.units else "",
    }
    parts = [FILES / f"{names[part]}.{script}" for part in _PARTS[script] if names[part]]
    texts = [file.read_text("utf-8").removeprefix(_SHEBANG) for file in parts if file.exists()]
    if not texts:
        return ""
    text = _SHEBANG + "\n" + "\n".join(each.strip("\n") + "\n" for each in texts)
    values = {
        "@PACKAGE@": package.name,
        "@LIBRARY@": package.modules,
        "@UNITS@": " ".join(package.units),
        "@UPSTREAM@": package.version.rpartition("-")[0],
    }
    return _filled(text, values)


def install(file: Path, target: Path, mode: int = 0o644, values: Mapping[str, str] | None = None) -> None:
    """Copy a file into a tree, with its mode; names in `values` are replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if values:
        target.write_text(_filled(file.read_text("utf-8"), values), "utf-8")
    else:
        shutil.copyfile(file, target)
    target.chmod(mode)


def write(target: Path, text: str) -> None:
    """Write a file into a tree."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")


def compressed(text: str, target: Path) -> None:
    """Write a gzip file that has no time in it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(text.encode(), mtime=0))


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def _control(package: Package, size_kib: int) -> str:
    lists = {"Depends": package.depends, "Recommends": package.recommends, "Suggests": package.suggests}
    relations = "".join(f"{field}: {', '.join(values)}\n" for field, values in lists.items() if values)
    description = "".join(f" {line}\n" if line else " .\n" for line in package.description.strip().splitlines())
    return (
        f"Package: {package.name}\nVersion: {package.version}\nArchitecture: {package.architecture}\n"
        f"Maintainer: {MAINTAINER}\nInstalled-Size: {size_kib}\n{relations}Section: net\nPriority: optional\n"
        f"Description: {package.summary}\n{description}"
    )


def _add_changes(package: Package, tree: Path, changes: str, epoch: int) -> None:
    about = tree / "usr/share/doc" / package.name
    date = datetime.fromtimestamp(epoch, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    head = f"{package.name} ({package.version}) unstable; urgency=medium"
    entry = f"{head}\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {date}\n"
    compressed(entry, about / "changelog.Debian.gz")
    compressed(changes, about / "changelog.gz")


def _normalize(tree: Path, epoch: int) -> None:
    """Modes do not depend on who builds, nor times on when."""
    for path in (tree, *tree.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        else:
            is_script = path.parent.name == "DEBIAN" and path.name in _SCRIPTS
            path.chmod(0o755 if is_script or path.parent == tree / "usr/bin" else 0o644)
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (epoch, epoch))
