from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from edgeagent.config.tables import Connection, FilePath
from edgeagent.errors import Denied
from edgeagent.links.tls import client_context, read_secret

ADDRESS = "mqtts://broker.example:8883"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret\n", b"s3cret"),
        (b"s3cret\r\n", b"s3cret"),
        (b"s3cret", b"s3cret"),
        (b" two\n\n", b" two\n"),
        (b"", b""),
    ],
)
def test_one_trailing_newline_is_no_part_of_a_secret(tmp_path: Path, content: bytes, secret: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    assert read_secret(ADDRESS, "password_file", str(file)) == secret


def test_a_secret_that_cannot_be_read_names_key_and_file(tmp_path: Path) -> None:
    with pytest.raises(Denied, match=r"password_file .*/gone cannot be read \(No such file or directory\)"):
        read_secret(ADDRESS, "password_file", str(tmp_path / "gone"))


@pytest.fixture(scope="module")
def client_files(tmp_path_factory: pytest.TempPathFactory) -> Connection:
    """A client certificate whose key is encrypted with `open sesame`, and the file with that password."""
    directory = tmp_path_factory.mktemp("certificates")
    issued = trustme.CA().issue_cert("gw-042")
    issued.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    encryption = BestAvailableEncryption(b"open sesame")
    (directory / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    (directory / "key.password").write_text("open sesame\n", "utf-8")
    return Connection(
        cert_file=FilePath(directory / "cert.pem"),
        key_file=FilePath(directory / "key.pem"),
        key_password_file=FilePath(directory / "key.password"),
    )


def test_an_encrypted_key_is_opened_with_its_password_file(client_files: Connection) -> None:
    context = client_context(ADDRESS, client_files)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_an_encrypted_key_without_its_password_is_denied_and_never_asked_for_on_the_terminal(
    client_files: Connection,
) -> None:
    without = Connection(cert_file=client_files.cert_file, key_file=client_files.key_file)
    with pytest.raises(Denied, match=r"key\.pem cannot be used \(.*\); check key_password_file too"):
        client_context(ADDRESS, without)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_file_that_cannot_be_used_is_denied_and_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Denied, match=r"ca_file .*/ca\.pem cannot be used \("):
        client_context(ADDRESS, Connection(ca_file=FilePath(file)))


def test_only_insecure_turns_the_checks_off() -> None:
    context = client_context(ADDRESS, Connection(insecure=True))
    assert context.verify_mode == ssl.CERT_NONE
    assert not context.check_hostname
