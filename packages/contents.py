"""What is in the packages: `edgeagent` for each machine, `edgeagent-httpx` and `edgeagent-dispatcher` for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from packages import deb, manual
from packages.cross import compile_msgspec
from packages.deb import FILES, Package
from packages.licences import copyright_file
from packages.suites import COMPILED, HTTPX, PURE, Suite, debian_version, locked
from packages.wheels import build_own, fetch_compiled, fetch_pure, fetch_source, unpack

_NO_WHEEL = {"armhf": frozenset({"msgspec"})}
_DISPATCHER_UNIT = "edgeagent-dispatch"
# The programs of a unit that runs from a checkout, and of one that runs from the package.
_PROGRAM = {"/opt/edgeagent/bin/edgeagent": "/usr/bin/edgeagent"}
_AGENT = """
Devices hand it events over HTTP or MQTT; it syncs them to disk before it
acknowledges them, turns them by rules into trigger messages that start Argo
workflows, forwards those through links that fail for days, and tells the
devices how their workflows go.

The service is not enabled: write /etc/edgeagent/config.toml first.
"""
_DISPATCHER = """
Takes the triggers of edgeagent's gateways from a broker, has an Argo Server
start the workflows, answers, and publishes how they go.

The service is not enabled: write /etc/edgeagent/dispatch.toml first.
"""
_HTTPX = """
The HTTP client that edgeagent needs for Argo, for webhooks, for Google
Pub/Sub and for stores of large data, with what is below it, in the versions
that edgeagent is tested with.
"""


class Contents:
    """Builds the packages of one tree. Everything is made in a directory `work` that the caller removes."""

    def __init__(self, root: Path, work: Path, epoch: int) -> None:
        self._root = root
        self._work = work
        self._epoch = epoch
        self._locked = locked(root)
        self._changes = (root / "CHANGELOG.md").read_text("utf-8")
        self._own: Path | None = None

    def packages(self, suite: Suite, architectures: Sequence[str], output: Path) -> Iterator[Path]:
        """The packages for a release, each as soon as it is made.

        Raises:
            BuildFailed: a wheel, a program or a licence is missing.
        """
        pure = fetch_pure(self._locked, PURE, suite, self._work / f"{suite.name}-pure")
        for architecture in architectures:
            yield self._agent(suite, architecture, pure, output)
        yield self._httpx(suite, output)
        yield self._dispatcher(suite, output)

    def _agent(self, suite: Suite, architecture: str, pure: Sequence[Path], output: Path) -> Path:
        package = Package(
            "edgeagent",
            debian_version(self._root, suite),
            architecture,
            # libgcc: mqtt5 is compiled from Rust.
            depends=(*_python(suite), "libc6", "libgcc-s1", "systemd | systemd-standalone-sysusers | systemd-sysusers"),
            recommends=("ca-certificates",),
            suggests=("edgeagent-httpx", "mosquitto", "python3-yaml"),
            summary="Field events become Argo workflows over MQTT, none lost, each started once",
            description=_AGENT,
            units=self._units(dispatcher=False),
            modules=self._modules(suite),
            conffiles=("/etc/edgeagent/config.toml",),
        )
        tree = self._work / f"{suite.name}-{architecture}"
        library = tree / package.modules.lstrip("/")
        unpack([self._wheel(), *pure], library)
        self._add_compiled(suite, architecture, library)
        values = {"@LIBRARY@": package.modules}
        deb.install(FILES / "edgeagent.in", tree / "usr/bin/edgeagent", 0o755, values)
        deb.install(FILES / "config.toml", tree / "etc/edgeagent/config.toml")
        deb.install(FILES / "edgeagent.sysusers", tree / "usr/lib/sysusers.d/edgeagent.conf")
        self._add_units(package, tree)
        deb.install(FILES / "edgeagent.lintian-overrides", tree / "usr/share/lintian/overrides/edgeagent")
        about = tree / "usr/share/doc/edgeagent"
        deb.install(self._root / "config.example.toml", about / "examples/config.toml")
        deb.write(about / "copyright", copyright_file(library))
        date = datetime.fromtimestamp(self._epoch, UTC).date().isoformat()
        deb.compressed(manual.program(date), tree / "usr/share/man/man1/edgeagent.1.gz")
        deb.compressed(manual.configuration(self._root, date), tree / "usr/share/man/man5/edgeagent.toml.5.gz")
        return deb.make(package, tree, self._changes, self._epoch, output)

    def _httpx(self, suite: Suite, output: Path) -> Path:
        package = Package(
            "edgeagent-httpx",
            debian_version(self._root, suite),
            "all",
            depends=(*_python(suite), f"edgeagent (= {debian_version(self._root, suite)})"),
            summary="HTTP client of edgeagent, for Argo, webhooks, Pub/Sub and stores",
            description=_HTTPX,
            modules=self._modules(suite),
        )
        tree = self._work / f"{suite.name}-httpx"
        library = tree / package.modules.lstrip("/")
        unpack(fetch_pure(self._locked, HTTPX, suite, self._work / f"{suite.name}-httpx-wheels"), library)
        deb.write(tree / "usr/share/doc" / package.name / "copyright", copyright_file(library))
        return deb.make(package, tree, self._changes, self._epoch, output)

    def _dispatcher(self, suite: Suite, output: Path) -> Path:
        version = debian_version(self._root, suite)
        package = Package(
            "edgeagent-dispatcher",
            version,
            "all",
            depends=(f"edgeagent (= {version})", f"edgeagent-httpx (= {version})"),
            summary="Dispatcher of edgeagent: triggers from a broker start Argo workflows",
            description=_DISPATCHER,
            units=self._units(dispatcher=True),
            conffiles=("/etc/edgeagent/dispatch.toml",),
        )
        tree = self._work / f"{suite.name}-dispatcher"
        deb.install(FILES / "dispatch.toml", tree / "etc/edgeagent/dispatch.toml")
        self._add_units(package, tree)
        about = tree / "usr/share/doc/edgeagent-dispatcher"
        deb.install(self._root / "dispatch.example.toml", about / "examples/dispatch.toml")
        own = self._work / f"{suite.name}-own"
        unpack([self._wheel()], own)
        deb.write(about / "copyright", copyright_file(own))
        return deb.make(package, tree, self._changes, self._epoch, output)

    def _add_compiled(self, suite: Suite, architecture: str, library: Path) -> None:
        missing = _NO_WHEEL.get(architecture, frozenset())
        place = self._work / f"{suite.name}-{architecture}-wheels"
        unpack(fetch_compiled(self._locked, COMPILED - missing, suite, architecture, place), library)
        if missing:
            sdist = fetch_source(self._locked, "msgspec", self._work / "msgspec")
            compile_msgspec(sdist, suite, self._work / f"{suite.name}-{architecture}-cross", library)

    def _modules(self, suite: Suite) -> str:
        """Where the modules are: a directory for each version.

        So an agent that still runs while its package is upgraded never imports a module of another version.
        """
        return f"/usr/lib/edgeagent/{debian_version(self._root, suite).rpartition('+')[0]}"

    def _wheel(self) -> Path:
        if self._own is None:
            self._own = build_own(self._root, self._work / "own")
        return self._own

    def _units(self, *, dispatcher: bool) -> tuple[str, ...]:
        names = sorted((file.name for file in (self._root / "systemd").iterdir()), key=_sockets_first)
        return tuple(name for name in names if name.startswith(_DISPATCHER_UNIT) == dispatcher)

    def _add_units(self, package: Package, tree: Path) -> None:
        for name in package.units:
            text = (self._root / "systemd" / name).read_text("utf-8")
            # The comments at the top tell how to install it by hand.
            body = text[text.index("[Unit]") :]
            for checkout, installed in _PROGRAM.items():
                body = body.replace(checkout, installed)
            deb.write(tree / "usr/lib/systemd/system" / name, body)


def _sockets_first(unit: str) -> tuple[bool, str]:
    """As they are started: a service that runs already gets no socket any more."""
    return not unit.endswith(".socket"), unit


def _python(suite: Suite) -> tuple[str, str]:
    """Compiled modules are of one Python."""
    major, minor = suite.python
    return f"python3 (>= {major}.{minor})", f"python3 (<< {major}.{minor + 1})"
