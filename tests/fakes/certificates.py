"""Certificates made for tests: an authority, a broker's, a gateway's."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from edgeagent.config.tables import FilePath


class Certificates:
    """A CA in `ca.pem`, certificates for 127.0.0.1 and localhost in `server.*`, one for a gateway in `client.*`.

    Beside them: `other-ca.pem`, which issued none of these, and `misnamed.*` for another host.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        self._other = trustme.CA()
        self._other.cert_pem.write_to_path(str(directory / "other-ca.pem"))
        self.issue("server", "127.0.0.1", "localhost")
        self.issue("misnamed", "other.example")
        self.issue("client", "gw-042.example")

    def issue(
        self, name: str, *hosts: str, common_name: str = "", ends: datetime | None = None, trusted: bool = True
    ) -> None:
        """Put a new certificate and its key in `{name}.pem` and `{name}.key`; not `trusted`: of the other CA."""
        authority = self._authority if trusted else self._other
        issued = authority.issue_cert(*hosts, common_name=common_name or None, not_after=ends)
        issued.cert_chain_pems[0].write_to_path(str(self.directory / f"{name}.pem"))
        issued.private_key_pem.write_to_path(str(self.directory / f"{name}.key"))

    def copy(self, file: str, to: str) -> None:
        """Put what is in one file into another."""
        (self.directory / to).write_bytes((self.directory / file).read_bytes())

    def remove(self, *files: str) -> None:
        """Remove files."""
        for file in files:
            (self.directory / file).unlink()

    def encrypt_key(self, name: str, password: str) -> None:
        """Encrypt `{name}.key`, and put the password in `{name}.password`."""
        file = self.directory / f"{name}.key"
        key = load_pem_private_key(file.read_bytes(), None)
        encryption = BestAvailableEncryption(password.encode())
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        (self.directory / f"{name}.password").write_text(f"{password}\n", "utf-8")

    def file(self, name: str) -> FilePath:
        """One of them."""
        return FilePath(self.directory / name)

    @property
    def client(self) -> dict[str, Any]:
        """Keys of a connection that trusts the CA and shows the gateway's certificate."""
        return {
            "ca_file": self.file("ca.pem"),
            "cert_file": self.file("client.pem"),
            "key_file": self.file("client.key"),
        }

    def listener(self, name: str = "server") -> list[str]:
        """A listener that wants a client certificate."""
        return [
            "allow_anonymous true",
            "require_certificate true",
            f"cafile {self.file('ca.pem')}",
            f"certfile {self.file(f'{name}.pem')}",
            f"keyfile {self.file(f'{name}.key')}",
        ]
