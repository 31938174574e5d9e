"""What is in the packages, for every release and machine; nothing is installed."""

from __future__ import annotations

import itertools
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from packages.suites import COMPILED, HTTPX, MACHINES, PURE, ROOT, SUITES
from tests.fakes.packages import NATIVE, Built, Packages, build

pytestmark = [pytest.mark.packages, pytest.mark.timeout(900)]

# ELF's numbers for these machines, and the glibc of each release.
ELF_MACHINES = {"amd64": 62, "arm64": 183, "armhf": 40}
GLIBC = {"bookworm": (2, 36), "trixie": (2, 41)}
DOWNLOAD_BYTES = 1_500_000
UNPACKED_BYTES = 6 << 20


@pytest.fixture(scope="module", params=itertools.product(SUITES, MACHINES), ids="-".join)
def built(request: pytest.FixtureRequest, packages: Packages) -> tuple[str, str, Built]:
    suite, architecture = request.param
    return suite, architecture, packages.build(suite, architecture)


def unpacked(package: Path, into: Path) -> Path:
    subprocess.run(["dpkg-deb", "--extract", str(package), str(into)], check=True)
    return into


def field(package: Path, name: str) -> str:
    done = subprocess.run(["dpkg-deb", "--field", str(package), name], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_every_library_is_there_for_the_right_machine_and_python_with_its_licence(
    built: tuple[str, str, Built], tmp_path: Path
) -> None:
    suite, architecture, (agent, httpx, _) = built
    tree = unpacked(agent, tmp_path)
    (library,) = (tree / "usr/lib/edgeagent").iterdir()
    names = {each.name.partition("-")[0].lower().replace("_", "-") for each in library.glob("*.dist-info")}
    assert names == {"edgeagent", *PURE, *COMPILED}
    major, minor = SUITES[suite].python
    compiled = list(library.rglob("*.so"))
    assert {each.parent.name for each in compiled} == set(COMPILED)
    for each in compiled:
        assert f".cpython-{major}{minor}-" in each.name or each.name.endswith(".abi3.so")
        data = each.read_bytes()
        assert struct.unpack_from("<H", data, 18) == (ELF_MACHINES[architecture],), "e_machine"
        versions = {tuple(map(int, match.split(b"."))) for match in re.findall(rb"GLIBC_(2\.\d+)", data)}
        assert versions
        assert max(versions) <= GLIBC[suite], each.name
    licences = (tree / "usr/share/doc/edgeagent/copyright").read_text("utf-8")
    assert all(f"\nComment: {name} " in licences.lower().replace("comment:", "Comment:") for name in names)
    about = unpacked(httpx, tmp_path / "httpx") / "usr/share/doc/edgeagent-httpx/copyright"
    assert about.read_text("utf-8").count("\nLicense: ") == len(HTTPX)


def test_it_is_small_and_has_no_compiler_no_pip_and_nothing_compiled_of_python(
    built: tuple[str, str, Built], tmp_path: Path
) -> None:
    _, architecture, (agent, _, _) = built
    assert agent.stat().st_size < DOWNLOAD_BYTES
    files = [each for each in unpacked(agent, tmp_path).rglob("*") if each.is_file()]
    assert sum(each.stat().st_size for each in files) < UNPACKED_BYTES
    assert not [each for each in files if each.suffix in {".pyc", ".c", ".pyi"} or "pip" in each.parts]
    assert field(agent, "Architecture") == architecture
    assert not re.search(r"\b(pip|venv|gcc|debhelper|python3-dev)\b", field(agent, "Depends"))


def test_the_units_run_the_packages_program(packages: Packages, tmp_path: Path) -> None:
    built = packages.build("bookworm", NATIVE)
    for package in (built.agent, built.dispatcher):
        tree = unpacked(package, tmp_path / package.name)
        for unit in (tree / "usr/lib/systemd/system").iterdir():
            text = unit.read_text("utf-8")
            assert text.startswith("[Unit]\n")
            assert "/opt/" not in text
            assert unit.suffix == ".socket" or "ExecStart=/usr/bin/edgeagent " in text
    (program,) = (unpacked(built.agent, tmp_path / "program") / "usr/bin").iterdir()
    assert program.read_text("utf-8").startswith("#!/usr/bin/python3 -IB\n")


def test_the_same_tree_gives_the_same_bytes(packages: Packages, tmp_path: Path) -> None:
    first = packages.build("bookworm", NATIVE)
    build(ROOT, "bookworm", NATIVE, tmp_path)
    for package in first:
        assert package.read_bytes() == (tmp_path / package.name).read_bytes(), package.name


def test_debians_own_checker_has_nothing_to_say(packages: Packages) -> None:
    assert shutil.which("lintian"), "lintian is missing: apt-get install -y lintian"
    names = [str(package) for package in packages.build("bookworm", NATIVE)]
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", *names], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
