"""The agent as a process that systemd starts with sockets: `python -m tests.fakes.activated_program run -c FILE`.

`$TEST_PASSED` has the descriptors, each with the name of its listener: `7:http,8:mqtt`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from edgeagent.__main__ import main
from tests.fakes.programs import Agent

_FIRST = 3  # where the program looks for them
_ABOVE = 64


class ActivatedAgent(Agent):
    """`edgeagent run` with sockets of the test's, which stay open when it ends: `sockets`, by names of listeners."""

    module = "tests.fakes.activated_program"

    def __init__(
        self, directory: Path, uplink: str, sockets: Mapping[str, socket.socket], *, listen: str, **tables: str
    ) -> None:
        super().__init__(directory, uplink, listen=listen, tables=tables)
        for sock in sockets.values():
            sock.set_inheritable(True)
        self.descriptors = [sock.fileno() for sock in sockets.values()]
        self.environment = {"TEST_PASSED": ",".join(f"{sock.fileno()}:{name}" for name, sock in sockets.items())}


def _arrange() -> None:
    """Put the descriptors where systemd puts them, and say so as it does."""
    passed = [each.split(":") for each in os.environ["TEST_PASSED"].split(",")]
    above = [fcntl.fcntl(int(descriptor), fcntl.F_DUPFD, _ABOVE) for descriptor, _ in passed]
    for place, descriptor in enumerate(above):
        os.dup2(descriptor, _FIRST + place)
        os.close(descriptor)
    os.environ |= {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(passed)),
        "LISTEN_FDNAMES": ":".join(name for _, name in passed),
    }


if __name__ == "__main__":
    _arrange()
    sys.exit(main(sys.argv[1:]))
