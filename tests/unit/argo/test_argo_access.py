from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trustme

from edgeagent.argo.access import ArgoAccess
from edgeagent.errors import EngineUnavailable

URL = "https://argo.example:2746"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def authorization(file: Path) -> bytes:
    return ArgoAccess(URL, token_file=str(file)).authorization()


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"abc", b"Bearer abc"),
        (b"  abc\r\n\n", b"Bearer abc"),
        (b"Bearer abc\n", b"Bearer abc"),
        (b"bearer   abc", b"Bearer abc"),
        (b"Bearer v2:eyJ.a-b_c=", b"Bearer v2:eyJ.a-b_c="),
        (b"Basic dXNlcjpwYXNz\n", b"Basic dXNlcjpwYXNz"),
        (b"bearerabc", b"Bearer bearerabc"),
    ],
)
def test_a_token_is_taken_as_people_keep_it(tmp_path: Path, content: bytes, value: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    assert authorization(tmp_path / "token") == value


def test_without_a_token_file_no_token_is_sent() -> None:
    assert ArgoAccess(URL).authorization() == b""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no token"),
        (b" \n", "holds no token"),
        (b"Bearer \n", "holds no token"),
        (b"s3cret\ns3cret", "a line break, a space or another character"),
        (b"Bearer\ns3cret", "a line break, a space or another character"),
        (b"s3cret s3cret", "a line break, a space or another character"),
        (b"s3cret\x00", "a line break, a space or another character"),
        ("s3cret\N{EM DASH}".encode(), "a line break, a space or another character"),
        (b"\xef\xbb\xbfs3cret", "a line break, a space or another character"),
        (b"s3cret" * 4000, "more than 16384 bytes"),
    ],
)
def test_a_token_that_no_header_can_carry_is_told_without_a_part_of_it(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(EngineUnavailable, match=reason) as caught:
        authorization(tmp_path / "token")
    assert str(tmp_path / "token") in str(caught.value)
    assert "s3cret" not in repr(caught.value) + str(caught.value.__context__)


def test_a_missing_token_file_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"/gone cannot be read \(No such file or directory\)"):
        authorization(tmp_path / "gone")
    with pytest.raises(EngineUnavailable, match=r"cannot be read \(Is a directory\)"):
        authorization(tmp_path)


def test_a_rotated_token_is_found_within_a_second_through_the_symlinks_of_kubernetes(tmp_path: Path) -> None:
    for version, token in [("..v1", "old"), ("..v2", "new")]:
        (tmp_path / version).mkdir()
        (tmp_path / version / "token").write_text(token)
        os.utime(tmp_path / version / "token", (1, 1))
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "token").symlink_to("..data/token")
    clock = Clock()
    access = ArgoAccess(URL, token_file=str(tmp_path / "token"), clock=clock)
    assert access.authorization() == b"Bearer old"

    (tmp_path / "..next").symlink_to("..v2")
    (tmp_path / "..next").rename(tmp_path / "..data")
    assert access.authorization() == b"Bearer old"  # looked at at most once a second
    clock.now_s += 1
    assert access.authorization() == b"Bearer new"


def test_a_token_written_in_place_is_found(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    clock = Clock()
    access = ArgoAccess(URL, token_file=str(tmp_path / "token"), clock=clock)
    access.authorization()
    (tmp_path / "token").write_text("newer")
    clock.now_s += 1
    assert access.authorization() == b"Bearer newer"


def test_a_token_that_became_unusable_is_not_replaced_by_the_old_one_and_mends_by_itself(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    clock = Clock()
    access = ArgoAccess(URL, token_file=str(tmp_path / "token"), clock=clock)
    access.authorization()
    (tmp_path / "token").write_text("")
    clock.now_s += 1
    for _ in range(2):
        with pytest.raises(EngineUnavailable, match="holds no token"):
            access.authorization()
    (tmp_path / "token").write_text("new")
    clock.now_s += 1
    assert access.authorization() == b"Bearer new"


def client_files(directory: Path, name: str = "client") -> tuple[Path, Path, trustme.CA]:
    ca = trustme.CA()
    issued = ca.issue_cert("dispatcher")
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    return certificate, key, ca


def test_certificate_and_host_are_checked_unless_insecure(tmp_path: Path) -> None:
    _, _, ca = client_files(tmp_path)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for context in (ArgoAccess(URL).context(), ArgoAccess(URL, ca_file=str(tmp_path / "ca.pem")).context()):
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    insecure = ArgoAccess(URL, insecure=True).context()
    assert insecure.verify_mode == ssl.CERT_NONE
    assert not insecure.check_hostname


def test_the_context_stays_until_a_certificate_is_renewed(tmp_path: Path) -> None:
    certificate, key, _ = client_files(tmp_path)
    clock = Clock()
    access = ArgoAccess(URL, cert_file=str(certificate), key_file=str(key), insecure=True, clock=clock)
    before = access.context()
    clock.now_s += 5
    assert access.context() is before
    renewed, renewed_key, _ = client_files(tmp_path, "renewed")
    renewed.rename(certificate)
    clock.now_s += 1
    with pytest.raises(EngineUnavailable, match="key values mismatch"):
        access.context()
    renewed_key.rename(key)
    clock.now_s += 1
    assert access.context() is not before


@pytest.mark.parametrize("content", [b"", b"no certificate"])
@pytest.mark.parametrize("name", ["ca_file", "cert_file"])
def test_a_file_that_is_no_certificate_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "file.pem").write_bytes(content)
    with pytest.raises(EngineUnavailable, match=rf"{name} .*/file\.pem cannot be used \("):
        ArgoAccess(URL, **{name: str(tmp_path / "file.pem")}).context()  # type: ignore[arg-type]  # only the files
