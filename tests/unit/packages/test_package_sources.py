"""What packages are made of: the locked requirements, maintainer scripts, configurations, units."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgeagent.config import load_agent, load_dispatcher
from packages import suites
from packages.deb import FILES, Package, maintainer_script
from packages.errors import BuildFailed
from packages.suites import ROOT, SUITES, debian_version, locked
from tests.fakes.documents import blocks_of

WHOLE = Package(
    "edgeagent", "1.2.3-1+deb12", "all", ("a",), "a", "a", units=("a.service",), modules="/usr/lib/edgeagent/1.2.3-1"
)
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def test_every_locked_requirement_is_in_one_package_and_has_hashes() -> None:
    known = [*suites.PURE, *suites.COMPILED, *suites.HTTPX, *suites.DEBIANS_OWN]
    assert len(known) == len(set(known))
    found = locked(ROOT)
    assert found.keys() == set(known)
    assert all("--hash=sha256:" in block for block in found.values())


def test_a_requirement_that_nobody_put_anywhere_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/run.txt").write_text(
        "h11==1.0 \\\n    --hash=sha256:00\nleft-pad==2.0\n    # via x\n", "utf-8"
    )
    with pytest.raises(BuildFailed, match="left-pad"):
        locked(tmp_path)


def test_the_package_of_a_later_release_has_the_greater_version() -> None:
    versions = [debian_version(ROOT, suite) for suite in SUITES.values()]
    assert versions == sorted(versions, key=lambda text: int(text.rpartition("+deb")[2]))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_maintainer_script_is_shell_and_has_no_blank_left(script: str, tmp_path: Path) -> None:
    text = maintainer_script(WHOLE, script)
    assert text.startswith("#!/bin/sh\nset -e\n")
    assert text.count("set -e") == 1
    assert "@" not in text
    (tmp_path / script).write_text(text, "utf-8")
    subprocess.run(["sh", "-n", str(tmp_path / script)], check=True)


def test_a_package_without_units_and_modules_needs_no_script() -> None:
    assert [maintainer_script(Package("a", "1", "all", (), "a", "a"), script) for script in SCRIPTS] == [""] * 4


def preinst(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run what dpkg runs before it unpacks 1.2.3, with a state below this directory."""
    if shutil.which("dpkg") is None:
        pytest.fail("dpkg is missing: these packages are Debian's")
    script = directory / "preinst"
    script.write_text(maintainer_script(WHOLE, "preinst").replace("/var/lib/", f"{directory}/"), "utf-8")
    return subprocess.run(["sh", str(script), *arguments], check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("last", "refused"), [("", False), ("1.2.2-1+deb12", False), ("1.2.3-2+deb13", False), ("1.3.0-1+deb12", True)]
)
def test_going_back_is_refused_but_not_to_another_packaging_of_the_same_version(
    tmp_path: Path, last: str, refused: bool
) -> None:
    done = preinst(tmp_path, "upgrade", last)
    assert (done.returncode != 0) == refused
    assert ("going back from 1.3.0 to 1.2.3 is refused" in done.stderr) == refused


@pytest.mark.parametrize(("kept", "refused"), [("", False), ("1.2.3", False), ("1.3.0", True)])
def test_a_purge_that_kept_the_state_does_not_open_the_way_back(tmp_path: Path, kept: str, refused: bool) -> None:
    (tmp_path / "edgeagent").mkdir()
    (tmp_path / "edgeagent/.kept-by").write_text(f"{kept}\n" if kept else "", "utf-8")
    done = preinst(tmp_path, "install")
    assert (done.returncode != 0) == refused
    assert ("going back from 1.3.0 to 1.2.3 is refused" in done.stderr) == refused
    assert ("install 1.3.0 again" in done.stderr) == refused


def test_the_refusal_tells_the_steps_of_the_document(tmp_path: Path) -> None:
    section = (ROOT / "docs/packages.md").read_text("utf-8").partition("\n**Going back is refused**")[2]
    documented = [line.partition("  ")[0] for line in blocks_of(section)[0].text.splitlines()]
    refusal = preinst(tmp_path, "upgrade", "1.3.0-1").stderr
    told = [line.removeprefix("  $ ").partition("  ")[0] for line in refusal.splitlines() if line.startswith("  $ ")]
    assert [line.replace("PACKAGE_OF_1.2.3", "edgeagent_OLDER") for line in told] == documented


def test_the_configurations_of_the_packages_can_be_used_as_they_are() -> None:
    (rule,) = load_agent(FILES / "config.toml", {}).rule
    assert rule.name == "overheat"
    assert load_dispatcher(FILES / "dispatch.toml", {}).engine.kind == "dry-run"


def test_the_units_name_no_program_but_the_one_that_the_packages_replace() -> None:
    for file in (ROOT / "systemd").glob("*.service"):
        programs = [line for line in file.read_text("utf-8").splitlines() if line.startswith("Exec")]
        assert programs
        assert all("=/opt/edgeagent/bin/edgeagent " in line for line in programs)
