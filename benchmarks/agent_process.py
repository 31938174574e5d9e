"""`edgeagent run` as a process whose uplink is away, over an outbox that is there."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edgeagent.cli.client import AgentClient
from edgeagent.errors import AgentUnreachable

_POLL_S = 0.005
_DEADLINE_S = 60.0


@contextlib.contextmanager
def agent(state: Path, tables: str = "") -> Iterator[tuple[int, float]]:
    """Start an agent over a state directory; gives its process id and the seconds until it took events.

    `tables`: more of its configuration.
    """
    config = state.with_name(f"{state.name}.toml")
    config.write_text(
        f'[agent]\nid = "gw-042"\nstate_dir = "{state}"\n'
        '[uplink]\nurl = "mqtt://127.0.0.1:9"\n'  # nobody listens on the discard port
        '[http]\nlisten = ""\n[outbox]\nmax_bytes = "8GiB"\n'
        f'{tables}[[rule]]\nname = "r"\nsource = "*"\nnamespace = "plant"\ntemplate = "inspect"\n',
        "utf-8",
    )
    with config.with_suffix(".log").open("wb") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeagent", "run", "-c", str(config)], stdout=log, stderr=log
        )
        try:
            _wait_ready(process, state / "agent.sock", config.with_suffix(".log"))
            yield process.pid, time.perf_counter() - start
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_DEADLINE_S)


def _wait_ready(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        with contextlib.suppress(AgentUnreachable), AgentClient.unix(socket) as client:
            client.request("GET", "/readyz")
            return
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the agent did not become ready:\n{log.read_text('utf-8')}")
        time.sleep(_POLL_S)
