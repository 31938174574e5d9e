"""rotel, a collector of OpenTelemetry by another hand, as a process: it writes down every span that it takes.

async with Rotel(tmp_path) as collector:
agent = Agent(..., tables={"tracing": f'endpoint = "{collector.endpoint}"'})
spans = await collector.until(4)
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.fakes.mosquitto import free_port
from tests.waiting import until, until_accepting

_RESOURCE = re.compile(r"^ +-> ([\w.]+): \w+\((.*)\)$", re.MULTILINE)
_FIELD = re.compile(r"^ *(Trace ID|Parent ID|ID|Name|Kind|Start time|End time|Status code|Status message) *: (.*)$")


class TakenSpan(NamedTuple):
    """A span as the collector has it. `fields`: by the names that it gives them."""

    service: str
    fields: Mapping[str, str]
    attributes: Mapping[str, str]

    @property
    def name(self) -> str:
        """What it is called."""
        return self.fields["Name"]

    @property
    def id(self) -> str:
        """Its id."""
        return self.fields["ID"]

    @property
    def parent(self) -> str:
        """The id of the span that it belongs to; "" for none."""
        return self.fields["Parent ID"]

    @property
    def trace(self) -> str:
        """Its trace."""
        return self.fields["Trace ID"]


class Rotel:
    """A collector in its own process; it can be stopped and started again on its port."""

    def __init__(self, directory: Path) -> None:
        """`directory`: where its files go; it must exist."""
        self._directory = directory
        self._http, self._grpc = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{self._http}"
        self._log = directory / "rotel.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        found = find_spec("rotel")
        assert found is not None, "rotel is missing: pip install -r requirements/dev.txt"
        assert found.origin is not None
        command = [
            str(Path(found.origin).parent / "rotel-agent"),
            "start",
            *("--otlp-http-endpoint", f"127.0.0.1:{self._http}", "--otlp-grpc-endpoint", f"127.0.0.1:{self._grpc}"),
            *("--exporter", "blackhole", "--pid-file", str(self._directory / "rotel.pid")),
            *("--debug-log", "traces", "--debug-log-verbosity", "detailed"),
        ]
        self._process = self._spawn(command)
        await until_accepting(self._process, [self._http], self._said)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        """End it."""
        self.kill()

    def spans(self) -> list[TakenSpan]:
        """What it has taken so far."""
        return [span for part in self._said().split("\nResource SchemaURL:")[1:] for span in _of_resource(part)]

    async def until(self, *names: str) -> list[TakenSpan]:
        """Wait until it has spans of these names; returns all that it has."""
        await until(
            lambda: {*names} <= {span.name for span in self.spans()},
            f"spans {', '.join(names)}",
            seen=lambda: [(span.service, span.name) for span in self.spans()],
        )
        return self.spans()

    def _said(self) -> str:
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""


def _of_resource(part: str) -> list[TakenSpan]:
    resource, *spans = re.split(r"^Span #\d+$", part, flags=re.MULTILINE)
    service = dict(_RESOURCE.findall(resource))["service.name"]
    return [_span(service, span) for span in spans]


def _span(service: str, text: str) -> TakenSpan:
    found = (match for line in text.splitlines() if (match := _FIELD.match(line)))
    return TakenSpan(service, {each[1]: each[2].strip() for each in found}, dict(_RESOURCE.findall(text)))
