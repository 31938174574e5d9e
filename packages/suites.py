"""For which releases and machines packages are built, and what goes into which package."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from packages.errors import BuildFailed

ROOT = Path(__file__).parents[1]
REVISION = "1"  # of the packaging: one more when only packages/ has changed since the version was released

MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l"}


class Suite(NamedTuple):
    """A release of Debian. `time64`: whether 32-bit machines count time in 64 bits there."""

    name: str
    number: int
    python: tuple[int, int]
    time64: bool


SUITES = {
    "bookworm": Suite("bookworm", 12, (3, 11), time64=False),
    "trixie": Suite("trixie", 13, (3, 13), time64=True),
}

# Which distribution of requirements/run.txt goes where. PyYAML is Debian's own python3-yaml.
PURE = frozenset({"aiomqtt", "h11", "paho-mqtt", "pamqp", "pysocks", "tomli", "wsproto"})
COMPILED = frozenset({"mqtt5", "msgspec"})
HTTPX = frozenset({"anyio", "certifi", "httpcore", "httpx", "idna", "typing-extensions"})
DEBIANS_OWN = frozenset({"pyyaml"})
LEFT_OUT = frozenset(
    {"obstore"}
)  # large, for Azure and `edgeagent fetch` from buckets only: by pip, where it is needed

_NAME = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def source_version(root: Path) -> str:
    """The version of a tree."""
    found = re.search(r'^__version__ = "([^"]+)"$', (root / "edgeagent/__init__.py").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise BuildFailed("edgeagent/__init__.py names no version")
    return found[1]


def debian_version(root: Path, suite: Suite) -> str:
    """The packages' version; that of a later release of Debian is greater."""
    return f"{source_version(root)}-{REVISION}+deb{suite.number}"


def locked(root: Path) -> Mapping[str, str]:
    """The requirements of requirements/run.txt with their hashes, by name.

    Raises:
        BuildFailed: one of them is in no package and not left out.
    """
    found = {_NAME.findall(block)[0].lower(): block for block in _blocks(root / "requirements/run.txt")}
    if unknown := found.keys() - PURE - COMPILED - HTTPX - DEBIANS_OWN - LEFT_OUT:
        raise BuildFailed(f"requirements/run.txt: {', '.join(sorted(unknown))}: packages/suites.py puts it nowhere")
    return {name: block for name, block in found.items() if name not in LEFT_OUT}


def _blocks(file: Path) -> Iterator[str]:
    """Each requirement with the lines that continue it, without comments."""
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    for block in "\n".join(lines).replace("\\\n", " ").splitlines():
        if block.strip():
            yield block.strip()
