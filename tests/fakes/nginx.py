"""Debian's nginx as a server of WebDAV, in a directory and on a port of its own, as whoever runs the tests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.certificates import Certificates
from tests.fakes.mosquitto import free_port
from tests.waiting import until_accepting

_PROGRAM = "/usr/sbin/nginx"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_CONFIG = """
daemon off;
master_process off;
pid {directory}/pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log {directory}/access.log;
    {temporary}
    server {{
        listen 127.0.0.1:{port}{tls};
        root {directory}/root;
        client_max_body_size {max_body};
        {certificates}
        location / {{ dav_methods PUT DELETE MKCOL; }}
        location /closed/ {{ deny all; }}
        location /private/ {{
            auth_basic "private";
            auth_basic_user_file {directory}/users;
            dav_methods PUT DELETE MKCOL;
        }}
    }}
}}
"""


class Nginx:
    """`async with Nginx(directory) as server`: takes PUT, DELETE and MKCOL below `/`.

    `/closed/` is forbidden to all, `/private/` open to the user `gw` with the password `secret`.

    Attributes:
        root: the directory that it serves.
        url: its address.
    """

    def __init__(self, directory: Path, certificates: Certificates | None = None, max_body: str = "2g") -> None:
        self._port = free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.root = directory / "root"
        self.url = f"{'https' if certificates else 'http'}://127.0.0.1:{self._port}"
        for made in (directory, self.root, self.root / "private", self.root / "closed"):
            made.mkdir(exist_ok=True)
        (directory / "users").write_text("gw:{PLAIN}secret\n", "utf-8")
        files = certificates.directory if certificates else directory
        (directory / "nginx.conf").write_text(
            _CONFIG.format(
                directory=directory,
                port=self._port,
                max_body=max_body,
                temporary=" ".join(f"{kind}_temp_path {directory}/{kind};" for kind in _TEMPORARY),
                tls=" ssl" if certificates else "",
                certificates=(
                    f"ssl_certificate {files}/server.pem; ssl_certificate_key {files}/server.key;"
                    if certificates
                    else ""
                ),
            ),
            "utf-8",
        )

    @property
    def requests(self) -> list[str]:
        """Method, path and status of all requests, in order."""
        lines = (self._directory / "access.log").read_text("utf-8").splitlines()
        parts = [line.split('"') for line in lines]
        return [f"{part[1].rpartition(' ')[0]} {part[2].split()[0]}" for part in parts]

    def files(self) -> dict[str, bytes]:
        """What it holds, by the path below its root."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes() for path in self.root.rglob("*") if path.is_file()
        }

    async def __aenter__(self) -> Self:
        """Start it."""
        self._process = self._spawn()
        await until_accepting(self._process, [self._port], self._said)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()

    def stop(self) -> None:
        """End it now."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [_PROGRAM, "-p", str(self._directory), "-c", str(self._directory / "nginx.conf"), "-e", "stderr"]
        with (self._directory / "log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def _said(self) -> str:
        return (self._directory / "log").read_text("utf-8", "replace")
