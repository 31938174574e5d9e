"""The secrets and certificates of a broker connection, read for each attempt because they are rotated."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeagent.common.certificate_ends import Ends
from edgeagent.common.certificates import expiries
from edgeagent.config.authorities import end_of_authorities
from edgeagent.config.secretfile import FileState, secret_in, state_of_file, why_unusable
from edgeagent.config.tables import Connection
from edgeagent.errors import Denied

if TYPE_CHECKING:
    import ssl


class Identity(msgspec.Struct, frozen=True):
    """Our certificates and those we trust, as they were on disk at one moment.

    `context`: for the connections. `files`: the versions of the files behind it. `ends`: until when the client
    certificate and the configured authorities are valid.
    """

    context: ssl.SSLContext
    files: tuple[FileState, ...]
    ends: Ends


def read_secret(address: str, key: str, file: str) -> bytes:
    """The secret in a file, without the single newline that editors put at the end.

    Raises:
        Denied: the file cannot be read; the text names `key` of the configuration and the file.
    """
    try:
        return secret_in(file)
    except OSError as exc:
        raise Denied(address, f"{key} {file} cannot be read ({exc.strerror})") from exc


def state_of_files(connection: Connection) -> tuple[FileState, ...]:
    """What `Identity.files` would be now. Looks at files: not for the loop's thread."""
    return tuple(state_of_file(file) for file in connection.certificate_files)


def load_identity(address: str, connection: Connection) -> Identity:
    """The identity on disk now. It reads files: not for the loop's thread.

    Raises:
        Denied: as `client_context`.
    """
    files = state_of_files(connection)  # before they are read: a change during the read then counts as new
    ends = Ends(_end(connection), end_of_authorities(connection.ca_file, datetime.now(UTC)))
    return Identity(client_context(address, connection), files, ends)


def client_context(address: str, connection: Connection) -> ssl.SSLContext:
    """The TLS context that the configuration asks for. It reads files: not for the loop's thread.

    Without `ca_file` the system's certificate authorities are trusted, otherwise only those in the file.

    Raises:
        Denied: a file cannot be read or used; the text names its key of the configuration and the file.
    """
    import ssl  # noqa: PLC0415  4 MiB, which links without TLS do without

    try:
        context = ssl.create_default_context(cafile=connection.ca_file or None)
    except (OSError, ValueError) as exc:
        raise Denied(address, f"ca_file {connection.ca_file} cannot be used ({why_unusable(exc)})") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if connection.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if connection.alpn:
        context.set_alpn_protocols([connection.alpn])
    if connection.cert_file:
        _load_certificate(context, address, connection)
    return context


def _load_certificate(context: ssl.SSLContext, address: str, connection: Connection) -> None:
    password = b""
    if connection.key_password_file:
        password = read_secret(address, "key_password_file", connection.key_password_file)
    try:
        # Always pass a callback: without one OpenSSL would ask for the password of an encrypted key on the terminal.
        context.load_cert_chain(connection.cert_file, connection.key_file, password=lambda: password)
    except (OSError, ValueError) as exc:
        files = f"cert_file {connection.cert_file} and key_file {connection.key_file}"
        raise Denied(address, f"{files} cannot be used ({why_unusable(exc)}); check key_password_file too") from exc


def _end(connection: Connection) -> datetime | None:
    """When the client certificate expires: the first in its file; the others are of authorities."""
    if not connection.cert_file:
        return None
    try:
        return next(iter(expiries(Path(connection.cert_file).read_bytes())), None)
    except (OSError, ValueError):  # just replaced, or in a form that only OpenSSL knows
        return None
