"""The bill of materials: what `make sbom` writes is CycloneDX, whole, and the same everywhere."""

from __future__ import annotations

import json
import re
import shutil
from importlib.resources import files
from pathlib import Path

import cyclonedx.schema
import jsonschema
import pytest
import referencing
from referencing.jsonschema import DRAFT7

from edgeagent import __version__
from packages.errors import BuildFailed
from packages.sbom import bill
from packages.suites import DEBIANS_OWN, LEFT_OUT, ROOT, locked

SCHEMAS = files(cyclonedx.schema) / "_res"


def schema(name: str) -> referencing.Resource[object]:
    text = (SCHEMAS / f"{name}.SNAPSHOT.schema.json").read_text("utf-8")
    return referencing.Resource.from_contents(json.loads(text), default_specification=DRAFT7)


def test_it_is_what_cyclonedx_says_down_to_the_licences() -> None:
    bom = schema("bom-1.6")
    below = [
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", schema(name)) for name in ("spdx", "jsf-0.82")
    ]
    registry: referencing.Registry[object] = referencing.Registry().with_resources(below)
    validator = jsonschema.Draft7Validator(bom.contents, registry=registry)
    assert [error.message for error in validator.iter_errors(bill(ROOT))] == []


def test_it_has_every_locked_distribution_with_the_hashes_of_its_files() -> None:
    made = bill(ROOT)
    assert made["metadata"]["component"]["version"] == __version__
    parts = {part["name"]: part for part in made["components"]}
    assert parts.keys() == locked(ROOT).keys() | LEFT_OUT
    for name, block in locked(ROOT).items():
        assert f"{name}=={parts[name]['version']}" in block
        hashes = [each["hashes"][0]["content"] for each in parts[name]["externalReferences"]]
        assert hashes == re.findall(r"sha256:([0-9a-f]{64})", block)


def test_the_one_of_the_packages_leaves_out_what_is_in_none() -> None:
    without = DEBIANS_OWN | LEFT_OUT
    made = bill(ROOT, without=without)
    assert {part["name"] for part in made["components"]} == locked(ROOT).keys() - without
    assert not {name for each in made["dependencies"] for name in each["dependsOn"]} & without


def test_it_says_what_needs_what() -> None:
    needs = {each["ref"]: each["dependsOn"] for each in bill(ROOT)["dependencies"]}
    assert {"aiomqtt", "msgspec", "tomli"} <= set(needs["edgeagent"])
    assert needs["httpx"] == ["anyio", "certifi", "httpcore", "idna"]
    assert "anyio" not in needs["edgeagent"]
    assert needs["aiomqtt"] == ["paho-mqtt"]
    assert {name for needed in needs.values() for name in needed} == needs.keys() - {"edgeagent"}


def test_it_is_the_same_each_time() -> None:
    assert bill(ROOT) == bill(ROOT)
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill(ROOT)["serialNumber"])


@pytest.mark.parametrize(
    ("lock", "problem"),
    [("nowhere-to-be-found==1.0 \\\n", "is not installed here"), ("h11==0.0.1 \\\n", "h11 is installed as")],
)
def test_what_is_not_installed_as_it_is_locked_is_named(tmp_path: Path, lock: str, problem: str) -> None:
    shutil.copytree(ROOT / "edgeagent", tmp_path / "edgeagent", ignore=lambda _, names: set(names) - {"__init__.py"})
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/run.txt").write_text(lock, "utf-8")
    with pytest.raises(BuildFailed, match=problem):
        bill(tmp_path)
