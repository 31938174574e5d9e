"""The Containerfile: its stages and instructions, and its steps carried out in chroots, without a container engine."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.fakes.chroot import Chroot

ROOT = Path(__file__).parents[2]
_MOUNT = re.compile(r"^--mount=type=bind,from=build,source=(\S+),target=(\S+) +")


class Instruction(NamedTuple):
    """One instruction: `name` is RUN or another word in capitals, `value` the rest without line ends."""

    name: str
    value: str


def stages() -> list[list[Instruction]]:
    """The instructions of each stage, from its FROM on."""
    text = (ROOT / "Containerfile").read_text("utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[Instruction]] = []
    for line in filter(None, text.splitlines()):
        name, _, value = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, value))
    return found


def seen() -> set[str]:
    """The names in this tree that a build sees."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines
    return {line[1:] for line in lines if line.startswith("!")}


def carry_out(
    stage: list[Instruction], machine: Chroot, build: Chroot | None = None, given: Mapping[str, str] | None = None
) -> None:
    """Do in `machine`, which is what FROM names, what a stage says.

    `build`: where the first stage was carried out. `given`: arguments, and other variables that the steps see.
    """
    directory, arguments = "/", dict(given or {})
    for name, value in stage:
        if name == "WORKDIR":
            directory = value
            (machine.root / value.lstrip("/")).mkdir(parents=True)
        elif name == "ARG":
            argument, _, default = value.partition("=")
            arguments.setdefault(argument, default)
        elif name == "COPY":
            *names, target = value.split()
            for each in names:
                _copy(each, machine.root / directory.lstrip("/") / target)
        elif name == "RUN":
            command = value
            if mount := _MOUNT.match(value):
                assert build is not None
                shutil.copytree(build.root / mount[1].lstrip("/"), machine.root / mount[2].lstrip("/"))
                command = value[mount.end() :]
            machine.done("sh", "-c", f"cd {shlex.quote(directory)} && {command}", **arguments)
            if mount:
                shutil.rmtree(machine.root / mount[2].lstrip("/"))


def _copy(name: str, target: Path) -> None:
    assert name in seen()
    place = ROOT / name
    if place.is_dir():
        shutil.copytree(place, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(place, target)
