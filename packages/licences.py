"""The licences of what a package contains, as its `copyright` file, in Debian's form for it (DEP 5)."""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packages.errors import BuildFailed

_HEAD = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: edgeagent
Comment: Beside edgeagent itself the package has the libraries that it is tested with, as their authors publish them.
 Each keeps its own licence.
"""
# Debian has the text, and does not want it again.
_COMMON = {"Apache-2.0": "On Debian systems the text is in /usr/share/common-licenses/Apache-2.0."}
_OWN_COPYRIGHT = "Copyright (c) 2026 The edgeagent developers"
# Where a distribution names its licence in words of its own.
_SHORT = {
    "BSD": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "EPL-2.0 OR BSD-3-Clause": "EPL-2.0 or BSD-3-Clause",
}
# Distributions whose modules have another name.
_MODULES = {
    "PySocks": ("socks.py",),
    "paho-mqtt": ("paho/*",),
    "typing_extensions": ("typing_extensions.py",),
}
_COPYRIGHT = re.compile(r"^\s*(?:copyright\s|\(c\)).*\d{4}.*$", re.IGNORECASE | re.MULTILINE)


class Licence(NamedTuple):
    """The licence of one distribution, with the names of its modules, and who holds the copyright."""

    name: str
    modules: tuple[str, ...]
    version: str
    short: str
    holders: tuple[str, ...]
    text: str


def copyright_file(library: Path) -> str:
    """The file for everything in a directory of unpacked wheels.

    Raises:
        BuildFailed: a distribution has no licence.
    """
    paragraphs = [_HEAD]
    # The paragraph for all files comes first: the last one that names a file counts.
    for licence in sorted(_licences(library), key=lambda each: (each.name != "edgeagent", each.name.lower())):
        files = "*" if licence.name == "edgeagent" else " ".join(f"*/{each}" for each in licence.modules)
        holders = "\n ".join(licence.holders) or _OWN_COPYRIGHT
        text = "\n".join(f" {line}" if line.strip() else " ." for line in licence.text.strip().splitlines())
        paragraphs.append(
            f"Files: {files}\nCopyright: {holders}\nLicense: {licence.short}\n{text}\n"
            f"Comment: {licence.name} {licence.version}\n"
        )
    return "\n".join(paragraphs)


def short_name(metadata: email.message.Message) -> str:
    """Its licence by a name without spaces, from the newest field that has one."""
    named = metadata["License-Expression"] or metadata["License"] or ""
    if not named or "\n" in named:
        classifiers = [each for each in metadata.get_all("Classifier", []) if each.startswith("License ::")]
        named = classifiers[0].rpartition(" :: ")[2] if classifiers else "see-text"
    return _SHORT.get(named, named).replace(" OR ", " or ").replace(" AND ", " and ")


def _licences(library: Path) -> Iterator[Licence]:
    for about in sorted(library.glob("*.dist-info")):
        metadata = email.message_from_string((about / "METADATA").read_text("utf-8"))
        name, version = metadata["Name"], metadata["Version"]
        texts = [file for file in sorted(about.rglob("*")) if file.is_file() and _is_licence(file)]
        if not texts:
            raise BuildFailed(f"{name} {version} brings no licence")
        text = "\n\n".join(file.read_text("utf-8") for file in texts)
        short = short_name(metadata)
        holders = tuple(dict.fromkeys(match.strip().rstrip(".") for match in _COPYRIGHT.findall(text)))
        yield Licence(
            name,
            _MODULES.get(name, (f"{name.replace('-', '_')}/*",)),
            version,
            short,
            holders,
            _COMMON.get(short, text),
        )


def _is_licence(file: Path) -> bool:
    return "licenses" in file.parts or file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE"))
