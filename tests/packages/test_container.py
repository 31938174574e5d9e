"""The image, made and run without a container engine: its steps in chroots, its root read-only."""

from __future__ import annotations

import json
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from packages.suites import DEBIANS_OWN, LEFT_OUT, MACHINES, ROOT, locked
from tests.fakes.chroot import Chroot
from tests.fakes.containerfile import carry_out, stages
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.packaged import Engine, Gateway
from tests.fakes.packages import NATIVE

pytestmark = [pytest.mark.packages, pytest.mark.timeout(1800)]

# The names of machines for who builds images.
TARGETS = {"amd64": "amd64", "arm64": "arm64", "armhf": "arm"}


@pytest.fixture(params=MACHINES)
def image(request: pytest.FixtureRequest) -> Iterator[Chroot]:
    """What the Containerfile makes for each kind of machine: the first stage on this one, the second on that."""
    build, final = stages()
    with tempfile.TemporaryDirectory() as first, Chroot("trixie", NATIVE, Path(first)) as builder:
        carry_out(build, builder, given={"TARGETARCH": TARGETS[request.param], **authorities(builder)})
        with tempfile.TemporaryDirectory() as second, Chroot("trixie", request.param, Path(second)) as machine:
            carry_out(final, machine, builder)
            yield machine


def authorities(machine: Chroot) -> dict[str, str]:
    """Let pip there trust whom this machine trusts: a proxy on the way may have an authority of its own."""
    known = ssl.get_default_verify_paths().cafile
    return {"PIP_CERT": machine.copy(Path(known))[0]} if known else {}


@contextmanager
def read_only(machine: Chroot) -> Iterator[None]:
    """Let nothing be written but on the image's volumes; and in /root, where the test keeps the logs."""
    written = [*json.loads(dict(stages()[-1])["VOLUME"]), "/root"]
    places = [str(machine.root / each.lstrip("/")) for each in written]
    subprocess.run(["mount", "-o", "remount,ro", str(machine.root)], check=True)
    mounted: list[str] = []
    try:
        for place in places:
            options = "uid=10001,gid=10001,mode=0750"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
            mounted.append(place)
        yield
    finally:
        for place in mounted:
            subprocess.run(["umount", place], check=True)


async def test_it_runs_healthy_with_a_read_only_root_and_has_no_compiler(image: Chroot, broker: Mosquitto) -> None:
    assert image.done("id", "-u", "edgeagent") == "10001\n"
    assert "/etc/edgeagent/config.toml: no such file" in image.run("edgeagent", "check").stdout
    assert image.run("sh", "-c", "command -v gcc cc pip").stdout == ""
    bill = json.loads((image.root / "usr/share/edgeagent/edgeagent.cdx.json").read_text("utf-8"))
    assert {part["name"] for part in bill["components"]} == locked(ROOT).keys() - DEBIANS_OWN - LEFT_OUT
    (image.root / "etc/edgeagent").mkdir(exist_ok=True)
    engine, gateway = Engine(image, broker.url), Gateway(image, broker.url)
    check = json.loads(dict(stages()[-1])["HEALTHCHECK"].partition("CMD ")[2])
    with read_only(image):
        assert image.run(*check).returncode == 1
        async with engine, gateway:
            image.done(*check)
            await gateway.succeeded(gateway.emit())
            await gateway.drained()
        assert image.run(*check).returncode == 1
