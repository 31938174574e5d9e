"""`make sbom`: what edgeagent is made of, as a bill of materials in CycloneDX's JSON.

It names the locked distributions of requirements/run.txt with their versions, the hashes of the files that pip accepts
for them, their licences, and which of them needs which. It says nothing of Python and Debian below them: of those
`dpkg-query` tells.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple, cast

from packages.errors import BuildFailed
from packages.licences import short_name
from packages.suites import DEBIANS_OWN, LEFT_OUT, ROOT, source_version

_HEAD = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
# "# via httpx", or one line each below "# via".
_NEEDED_BY = re.compile(r"^ +#   (?:via )?([A-Za-z0-9._-]+)(?: \(pyproject\.toml\))?$", re.MULTILINE)
_ROOT = "edgeagent"
# The bill of a version is the same wherever it is made.
_SERIAL = uuid.UUID("5b0c7d5e-4a76-4c53-9d0a-0f4a0a3f8a51")


class Locked(NamedTuple):
    """One requirement of the lock: `needed_by` are names, `edgeagent` among them."""

    name: str
    version: str
    hashes: tuple[str, ...]
    needed_by: frozenset[str]


def bill(root: Path, *, without: frozenset[str] = frozenset()) -> Mapping[str, Any]:
    """The bill of a tree, `without` some distributions. Licences are those that the installed ones name.

    Raises:
        BuildFailed: a locked distribution is not installed here, or in another version.
    """
    version = source_version(root)
    locked = [each for each in _locked((root / "requirements/run.txt").read_text("utf-8")) if each.name not in without]
    own = {"type": "application", "bom-ref": _ROOT, "name": _ROOT, "version": version, "licenses": [_licence(_ROOT)]}
    parts = [_component(each) for each in locked]
    content = json.dumps([own, *parts], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SERIAL, content)}",
        "version": 1,
        "metadata": {"component": own},
        "components": parts,
        "dependencies": [
            {"ref": name, "dependsOn": sorted(each.name for each in locked if name in each.needed_by)}
            for name in (_ROOT, *(each.name for each in locked))
        ],
    }


def _locked(text: str) -> Iterator[Locked]:
    for block in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE):
        if head := _HEAD.match(block):
            needed_by = frozenset(_NEEDED_BY.findall(block))
            yield Locked(head[1], head[2], tuple(_HASH.findall(block)), needed_by)


def _component(locked: Locked) -> dict[str, Any]:
    try:
        installed = distribution(locked.name).version
    except PackageNotFoundError as exc:
        raise BuildFailed(f"{locked.name} is not installed here, which tells its licence: make sbom") from exc
    if installed != locked.version:
        raise BuildFailed(f"{locked.name} is installed as {installed}, and locked as {locked.version}: make sbom")
    address = f"pkg:pypi/{locked.name}@{locked.version}"
    return {
        "type": "library",
        "bom-ref": locked.name,
        "name": locked.name,
        "version": locked.version,
        "purl": address,
        "licenses": [_licence(locked.name)],
        # One for each file of the distribution: its wheels for all machines, and its source.
        "externalReferences": [
            {"type": "distribution", "url": address, "hashes": [{"alg": "SHA-256", "content": each}]}
            for each in locked.hashes
        ],
    }


def _licence(name: str) -> dict[str, Any]:
    found = short_name(cast(Message, distribution(name).metadata))
    if " or " in found:
        return {"expression": found.replace(" or ", " OR ")}
    return {"license": {"id": found}}


def main() -> int:
    """Write the bill of this tree; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m packages.sbom", description="Write the bill of materials.")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to (default: dist/edgeagent-VERSION.cdx.json)"
    )
    parser.add_argument("--packaged", action="store_true", help="only what is in the Debian packages, and in the image")
    asked = parser.parse_args()
    output = asked.output or ROOT / "dist" / f"edgeagent-{source_version(ROOT)}.cdx.json"
    try:
        without = DEBIANS_OWN | LEFT_OUT if asked.packaged else frozenset[str]()
        text = json.dumps(bill(ROOT, without=without), indent=2, sort_keys=True)
    except BuildFailed as exc:
        print(f"no bill of materials: {exc}", file=sys.stderr)
        return 1
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(f"{text}\n", "utf-8")
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
