"""What who works on the project goes by: one version, locked dependencies, the same checks before a commit as after."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tomli
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import edgeagent
from tests.architecture.source import ROOT

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PROJECT: dict[str, Any] = tomli.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
# Each lock, with the extras that it holds. Who develops needs all of them.
LOCKS = {"dev": set(EXTRAS), "demo": {"demo"}, "run": set(EXTRAS) - {"demo", "dev", "top"}}
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def locked(name: str) -> dict[str, Requirement]:
    """What a lock names, by its canonical name. Fails for what is not one version with hashes."""
    found: dict[str, Requirement] = {}
    text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        pinned, *hashes = line.split("--hash=")
        assert hashes, f"{line} has no hash"
        assert _HASH.sub("", line).strip() == pinned.strip(), f"{line} has more than a version and hashes"
        requirement = Requirement(pinned)
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), f"{requirement} is not one version"
        assert not requirement.url
        found[canonicalize_name(requirement.name)] = requirement
    return found


def declared(extras: set[str]) -> list[Requirement]:
    """What pyproject.toml asks for at run time and for these extras."""
    texts = [*PROJECT["project"]["dependencies"], *(text for extra in sorted(extras) for text in EXTRAS[extra])]
    return [each for each in map(Requirement, texts) if each.name != PROJECT["project"]["name"]]


@pytest.mark.parametrize("name", LOCKS)
def test_what_is_declared_is_locked_in_a_version_that_fits(name: str) -> None:
    versions = locked(name)
    for wanted in declared(LOCKS[name]):
        there = versions.get(canonicalize_name(wanted.name))
        assert there is not None, f"requirements/{name}.txt lacks {wanted.name}: make lock"
        version = str(there.specifier).removeprefix("==")
        assert wanted.specifier.contains(version, prereleases=True), f"{there} is not {wanted}: make lock"


def test_make_lock_locks_the_extras_that_each_is_for() -> None:
    recipe = MAKEFILE.partition("\nlock:")[2].split("\n\n", 1)[0].replace("\\\n", " ")
    made = {
        name: set(re.findall(r"--extra (\S+)", line))
        for line in recipe.splitlines()
        for name in re.findall(r"--output-file requirements/(\w+)\.txt", line)
    }
    (itself,) = [each.extras for each in map(Requirement, EXTRAS["dev"]) if each.name == PROJECT["project"]["name"]]
    made["dev"] |= itself
    assert made == LOCKS


@pytest.mark.parametrize("name", ["demo", "run"])
def test_what_is_tested_is_what_is_run(name: str) -> None:
    tested = {key: each.specifier for key, each in locked("dev").items()}
    assert {key: each.specifier for key, each in locked(name).items()}.items() <= tested.items()


def test_a_lock_holds_on_every_python_that_the_project_names() -> None:
    """A package that only one Python needs has a marker, and none is bound to the machine that made the lock."""
    surroundings = set(default_environment())
    for name in LOCKS:
        for each in locked(name).values():
            used = set(re.findall(r"[a-z_]+", re.sub(r"'[^']*'|\"[^\"]*\"", "", str(each.marker or "")))) - {
                "and",
                "or",
                "in",
                "not",
            }
            assert used <= surroundings - {"platform_release", "platform_version"}, each


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"] == {"path": "edgeagent/__init__.py"}
    others = [
        f"{path.relative_to(ROOT).as_posix()}: {image}"
        for folder in ("deploy", "docs")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and path.suffix != ".png"
        for image in re.findall(r"\bedgeagent:\d[\w.]*\d", path.read_text("utf-8"))
        if image != f"edgeagent:{edgeagent.__version__}"
    ]
    assert others == [], f"images of another version than {edgeagent.__version__}"


def test_the_newest_notes_have_no_number_or_that_of_this_version_with_its_date() -> None:
    newest = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[0]
    released = rf"\[{re.escape(edgeagent.__version__)}\] - \d{{4}}-\d\d-\d\d"
    assert newest == "[Unreleased]" or re.fullmatch(released, newest), newest


def test_there_is_no_promise_of_types_without_a_public_api() -> None:
    assert not (ROOT / "edgeagent" / "py.typed").exists()
    assert not [each for each in PROJECT["project"]["classifiers"] if each.startswith("Typing ::")]


def test_a_commit_is_held_to_what_make_lint_holds_it_to_and_fetches_nothing() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert all(hook["language"] == "system" for hook in hooks)
    recipe = MAKEFILE.partition("\nlint:")[2].split("\n\n", 1)[0].splitlines()[1:]
    assert [hook["entry"] for hook in hooks] == [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe]


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_a_form_for_issues_asks_what_can_be_answered(form: Path) -> None:
    document = yaml.safe_load(form.read_text("utf-8"))
    assert document["name"]
    assert document["description"]
    fields = [part for part in document["body"] if part["type"] != "markdown"]
    assert fields
    assert len({field["id"] for field in fields}) == len(fields)
    for field in fields:
        assert field["type"] in {"checkboxes", "dropdown", "input", "textarea"}
        assert field["attributes"]["label"]
        if field["type"] == "dropdown":
            options = field["attributes"]["options"]
            assert all(isinstance(option, str) for option in options), "YAML reads a bare yes and no as something else"
