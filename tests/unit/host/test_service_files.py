"""The files that put edgeagent on a machine: systemd units, the container's recipe, the Makefile."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from edgeagent.errors import ConfigError, OutboxLocked
from edgeagent.host.supervisor import CANCEL_TIMEOUT_S, DRAIN_TIMEOUT_S
from tests.fakes.containerfile import seen, stages

ROOT = Path(__file__).parents[3]
EXPOSURE = 1.2
UNITS = ["edgeagent.service", "edgeagent-dispatch.service"]


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """A unit file: values by section and key, in order; a key may stand several times."""
    sections: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    section = ""
    for line in (ROOT / "systemd" / name).read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        key, sign, value = line.partition("=")
        assert sign, f"{name}: {line!r} is no assignment"
        sections[section][key].append(value)
    return sections


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_told_when_the_start_is_complete_and_watches_the_process(name: str) -> None:
    service = unit(name)["Service"]
    assert service["Type"] == ["notify"]
    assert 10 <= seconds(service["WatchdogSec"][0]) <= 60


@pytest.mark.parametrize(("name", "command"), [(UNITS[0], "run"), (UNITS[1], "dispatch")])
def test_a_unit_runs_the_command_of_its_name_from_opt(name: str, command: str) -> None:
    assert unit(name)["Service"]["ExecStart"] == [f"/opt/edgeagent/bin/edgeagent {command}"]


def test_the_agents_unit_reloads_with_a_command_that_tells_a_refusal() -> None:
    assert unit(UNITS[0])["Service"]["ExecReload"] == ["/opt/edgeagent/bin/edgeagent reload"]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_again_for_ever_but_not_with_a_wrong_configuration(name: str) -> None:
    sections = unit(name)
    assert sections["Service"]["Restart"] == ["always"]
    assert seconds(sections["Service"]["RestartSec"][0]) >= 1
    assert sections["Unit"]["StartLimitIntervalSec"] == ["0"]
    given_up = sections["Service"]["RestartPreventExitStatus"][0].split()
    assert {"2", str(ConfigError.exit_code)} == set(given_up)
    assert str(OutboxLocked.exit_code) not in given_up, "the other process may be on its way out"


@pytest.mark.parametrize("name", UNITS)
def test_systemd_waits_longer_than_the_drain_and_the_end_of_the_tasks_take(name: str) -> None:
    assert seconds(unit(name)["Service"]["TimeoutStopSec"][0]) > DRAIN_TIMEOUT_S + 2 * CANCEL_TIMEOUT_S


def test_the_agents_state_is_its_own_and_survives() -> None:
    service = unit("edgeagent.service")["Service"]
    assert (
        service["StateDirectory"] == service["RuntimeDirectory"] == service["ConfigurationDirectory"] == ["edgeagent"]
    )
    assert service["StateDirectoryMode"] == ["0750"]
    assert service["UMask"] == ["0027"]
    assert service["User"] == ["edgeagent"]
    assert "DynamicUser" not in service


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_fits_a_gateway_with_512_mb(name: str) -> None:
    limit = unit(name)["Service"]["MemoryMax"][0]
    assert limit.endswith("M")
    assert 64 <= int(limit[:-1]) <= 256


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("ProtectKernelTunables", "yes"),
        ("ProtectKernelModules", "yes"),
        ("ProtectKernelLogs", "yes"),
        ("ProtectControlGroups", "yes"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
        ("RestrictNamespaces", "yes"),
        ("PrivateUsers", "yes"),
    ],
)
def test_a_unit_is_hardened(name: str, key: str, value: str) -> None:
    assert unit(name)["Service"][key] == [value]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_may_make_no_call_that_needs_privileges_or_changes_what_it_may_use(name: str) -> None:
    assert unit(name)["Service"]["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_a_unit_little_exposed(name: str) -> None:
    """From 0 to 10; most services of their kind have more than 9."""
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", str(ROOT / "systemd" / name)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"})
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+) ", told.stdout)
    assert level is not None, told.stdout
    assert float(level[1]) <= EXPOSURE


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_uses_nothing_that_debian_12_does_not_know(name: str) -> None:
    """They would be ignored with a warning by systemd 252."""
    assert not unit(name)["Service"].keys() & {"RestartSteps", "RestartMaxDelaySec"}


@pytest.mark.parametrize("name", UNITS)
def test_a_credential_in_the_example_has_the_name_that_the_configuration_uses(name: str) -> None:
    text = (ROOT / "systemd" / name).read_text("utf-8")
    credential = re.search(r"^#LoadCredential=([^:]+):/", text, re.MULTILINE)
    assert credential is not None
    example = "dispatch.example.toml" if "dispatch" in name else "config.example.toml"
    assert f'password_file = "{credential[1]}"' in (ROOT / example).read_text("utf-8")


def test_the_final_image_has_no_root_no_compiler_and_no_cache() -> None:
    build, final = stages()
    base = "docker.io/library/debian:trixie-slim"
    assert build[0].value == f"--platform=$BUILDPLATFORM {base} AS build"
    assert final[0].value == f"--platform=$TARGETPLATFORM {base}", "or Podman takes the one of the machine that builds"
    assert ("USER", "10001:10001") in final
    assert ("ENTRYPOINT", '["edgeagent"]') in final
    assert final[-1] == ("CMD", '["run"]')
    for name, value in final:
        assert name not in {"COPY", "ADD"}, "packages are mounted, so that no layer keeps them"
        assert not re.search(r"\b(gcc|pip)\b", value)
        if "apt-get install" in value:
            assert "--no-install-recommends" in value
            assert "rm -rf /var/lib/apt/lists/*" in value


def test_the_image_has_the_locked_dependencies_and_builds_none_of_them() -> None:
    """Packages fetch them by their hashes: tests/unit/packages/. msgspec has no wheel for 32-bit ARM."""
    steps = [value for name, value in stages()[0] if name == "RUN"]
    assert any("python3 -m packages --suite trixie" in step for step in steps)
    (installed,) = [step for step in steps if "pip install" in step]
    words = installed.split()
    assert "--require-hashes" in words
    assert words[words.index("--only-binary") + 1] == ":all:"
    assert words[words.index("--requirement") + 1] == "requirements/run.txt"
    (compiler,) = [step for step in steps if "gcc" in step]
    assert '$([ "$TARGETARCH" != arm ] || echo gcc-arm-linux-gnueabihf' in compiler


def test_the_image_keeps_its_state_on_a_volume_that_the_user_owns() -> None:
    final = stages()[1]
    values = dict(final)
    assert json.loads(values["VOLUME"]) == ["/var/lib/edgeagent", "/run/edgeagent"], "all that is written"
    assert "STATE_DIRECTORY=/var/lib/edgeagent" in values["ENV"]
    owned = "install -d -o edgeagent -g edgeagent -m 0750 /var/lib/edgeagent /run/edgeagent"
    assert any(owned in value for name, value in final if name == "RUN")


def test_the_images_health_check_is_python_that_asks_the_socket_of_the_runtime_directory() -> None:
    values = dict(stages()[1])
    program, option, code = json.loads(values["HEALTHCHECK"].partition("CMD ")[2])
    assert [program, option] == ["python3", "-c"]
    compile(code, "HEALTHCHECK", "exec")
    directory = re.search(r"RUNTIME_DIRECTORY=(\S+)", values["ENV"])
    assert directory is not None
    assert f"{directory[1]}/agent.sock" in code


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    copied = {word for name, value in stages()[0] if name == "COPY" for word in value.split()[:-1]}
    assert copied == seen()
    assert all((ROOT / name).exists() for name in seen())


def test_make_without_a_target_lists_every_target() -> None:
    listed = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    names = [line.split()[1] for line in listed.splitlines() if line.startswith("make ") and "directory" not in line]
    everyday = ["help", "demo", "test", "check", "format", "lint", "bench", "soak"]
    assert names == [*everyday, "lock", "docs", "release", "deb", "sbom", "test-packages"]


def test_no_python_that_is_new_enough_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text("utf-8"), "utf-8")
    (tmp_path / "requirements").mkdir()
    for file in ("pyproject.toml", "requirements/dev.txt"):
        (tmp_path / file).touch()
    made = subprocess.run(
        ["make", "-C", str(tmp_path), "check", "PYTHON=/nonexistent/python3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode
    assert "Python 3.11 or later is needed" in made.stderr
