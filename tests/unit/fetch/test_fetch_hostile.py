"""Where `edgeagent fetch` goes, and where no claim, redirect or link leads it."""

from __future__ import annotations

import os
import ssl
from hashlib import sha256
from pathlib import Path

import pytest

from tests.fakes.artifact_server import ArtifactServer
from tests.fakes.certificates import Certificates
from tests.fakes.fetching import CONTENT, Fetch, allow, claim

pytestmark = pytest.mark.slow  # servers or processes of its own


def test_a_machine_of_its_own_is_asked_only_if_it_is_named(server: ArtifactServer, run: Fetch) -> None:
    code, _, err = run(claim(f"{server.base}/frame.jpg"))
    assert (code, server.requests) == (1, [])
    assert "is at 127.0.0.1, this machine itself: give --allow if it is meant" in err
    code, _, err = run(claim(f"{server.base}/secret/frame.jpg"), f"--allow={server.base}/public")
    assert (code, server.requests) == (1, [])
    assert "is below no --allow" in err


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://169.254.169.254/latest/meta-data/", "names no file"),
        ("http://169.254.169.254/latest/user", "a link-local address"),
        ("http://[::ffff:127.0.0.1]/x", "this machine itself"),
        ("http://user:word@store.example/x", "must hold no user, password"),
        ("gopher://store.example/x", "must begin with one of file://, http://"),
        ("https://store.example/a/%2e%2e/x", "must have no segment in its path that is '.' or '..'"),
        ("https://store.example/a%2fb", "must have no segment in its path that is '.' or '..', or has a slash"),
        ("file://other/etc/passwd", "must be file:///path, without a host"),
        ("file:///etc/passwd", "is a file here: allow its directory"),
        ("https://store.example:0/x", "names no host"),
        ("https://store.example/\u202egpj.exe", "must be printable ASCII"),
        (f"https://{'a' * 64}.example/x", "no host can have this name"),
        ("https://store..example/x", "no host can have this name"),
        ("s3:///x", "names no bucket"),
        ("\x1b[2J", "must be printable ASCII"),
    ],
)
def test_a_hostile_claim_leads_nowhere(run: Fetch, tmp_path: Path, url: str, why: str) -> None:
    code, _, err = run(claim(url))
    assert code == 1
    assert why in err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "claim: is not JSON"),
        ('{"url": "https://store.example/x", "size": -1, "sha256": "' + sha256(b"").hexdigest() + '"}', "claim: size:"),
        ('{"url": "https://store.example/x", "size": 1, "sha256": "../../x"}', "claim: sha256:"),
        (
            '{"url": "https://store.example/x", "size": 1e30, "sha256": "' + sha256(b"").hexdigest() + '"}',
            "claim: size:",
        ),
        ('{"size": 1}', "claim: "),
    ],
)
def test_what_is_no_claim_is_told_in_one_line(run: Fetch, text: str, why: str) -> None:
    code, _, err = run(text)
    assert (code, err.count("\n")) == (1, 1)
    assert why in err


def test_a_claim_of_a_size_that_nobody_expects_does_not_fill_the_disk(server: ArtifactServer, run: Fetch) -> None:
    code, _, err = run(claim(f"{server.base}/frame.jpg", size=1 << 40), allow(server))
    assert (code, server.requests) == (1, [])
    assert "the claim says 1099511627776 bytes, more than --max-size 1073741824" in err
    assert run(claim(f"{server.base}/frame.jpg"), allow(server), "--max-size", "1KiB")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("https://store.example/x",), "a url needs --sha256 and --size"),
        (("https://store.example/x", "--sha256", "abc", "--size", "1"), "--sha256 takes 64 hexadecimal digits"),
        (("{}", "--size", "1"), "--sha256 and --size go with a url"),
        (("{}", "--token-file", "token"), "credentials need --allow"),
        (("{}", "--user", "anna"), "--user and --password-file go together"),
        (("{}", "--max-size", "many"), "is not a size"),
        (("{}", "--retry", "long"), "is not a duration"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(run: Fetch, arguments: tuple[str, ...], why: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert why in err


def test_credentials_go_to_the_claims_server_and_not_to_where_it_redirects(
    server: ArtifactServer, run: Fetch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("geheim\n")
    with ArtifactServer(CONTENT) as other:
        server.redirects = {"/frame.jpg": "/there/frame.jpg", "/there/frame.jpg": f"{other.base}/elsewhere"}
        code, _, err = run(
            claim(f"{server.base}/frame.jpg"), allow(server), allow(other), "--token-file", "token", "-o", "in"
        )
        assert (code, err) == (0, "")
        assert [headers.get("authorization") for _, headers in server.requests] == ["Bearer geheim"] * 2
        assert [headers.get("authorization") for _, headers in other.requests] == [None]


def test_a_user_and_a_password_are_sent_as_basic_ones(server: ArtifactServer, run: Fetch, tmp_path: Path) -> None:
    (tmp_path / "word").write_text("open sesame\n")
    arguments = ("--user", "anna", "--password-file", "word")
    assert run(claim(f"{server.base}/frame.jpg"), allow(server), *arguments)[0] == 0
    assert server.requests[0][1]["authorization"] == "Basic YW5uYTpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("file:///etc/passwd", "is below no --allow"),
        ("http://169.254.169.254/latest/x", "is below no --allow"),
        ("/frame.jpg", "it redirects more than 5 times"),
        ("javascript:1", "must begin with one of"),
    ],
)
def test_a_redirect_leads_no_further_than_the_claim_might(
    server: ArtifactServer, run: Fetch, location: str, why: str
) -> None:
    server.redirects = {"/frame.jpg": location}
    code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert code == 1
    assert why in err


def test_tls_needs_an_authority_that_is_trusted_and_is_not_left(run: Fetch, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with ArtifactServer(CONTENT, context) as server, ArtifactServer(CONTENT) as plain:
        ca = f"--ca-file={certificates.directory / 'ca.pem'}"
        code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server))
        assert code == 1
        assert "its certificate is not trusted" in err
        assert run(claim(f"{server.base}/frame.jpg"), allow(server), ca)[0] == 0
        server.redirects = {"/other.jpg": f"{plain.base}/other.jpg"}
        code, _, err = run(claim(f"{server.base}/other.jpg"), allow(server), allow(plain), ca)
        assert code == 1
        assert f"{plain.base}/other.jpg is not as safe" in err


def test_a_server_that_is_away_exits_69(run: Fetch, free_port: int) -> None:
    base = f"http://127.0.0.1:{free_port}"
    code, _, err = run(claim(f"{base}/frame.jpg"), f"--allow={base}", "--retry", "0s")
    assert code == 69
    assert err == f"edgeagent: {base}/frame.jpg: the connection failed (Connection refused)\n"


def test_a_file_is_read_from_below_an_allowed_directory(run: Fetch, tmp_path: Path) -> None:
    (tmp_path / "store/gw 1").mkdir(parents=True)
    (tmp_path / "store/gw 1/frame.jpg").write_bytes(CONTENT)
    reference = claim(f"file://{tmp_path}/store/gw%201/frame.jpg")
    assert run(reference, f"--allow=file://{tmp_path}/store/")[0] == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT
    (tmp_path / "frame.jpg").unlink()
    (tmp_path / "frame.jpg.part").write_bytes(CONTENT[:70_000])
    code, out, _ = run(reference, f"--allow=file://{tmp_path}/store/")
    assert code == 0
    assert "continued after 70000 bytes" in out


def test_no_link_leads_out_of_an_allowed_directory(run: Fetch, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "secret").write_bytes(CONTENT)
    (tmp_path / "store/frame.jpg").symlink_to("../secret")
    (tmp_path / "store/up").symlink_to("..")
    for name in ("frame.jpg", "up/secret"):
        code, _, err = run(claim(f"file://{tmp_path}/store/{name}"), f"--allow=file://{tmp_path}/store", "-o", "in")
        assert code == 1
        assert "a link in its path leads out of what --allow names" in err
    code, _, err = run(claim(f"file://{tmp_path}/storeroom/x"), f"--allow=file://{tmp_path}/store")
    assert "is below no --allow" in err


def test_what_is_no_file_or_has_another_size_is_refused(run: Fetch, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / "directory").mkdir(parents=True)
    os.mkfifo(store / "pipe")
    (store / "short").write_bytes(CONTENT[:-1])
    for name, why in (
        ("pipe", "it is no ordinary file"),
        ("directory", "it is no ordinary file"),
        ("short", "it has 299999 bytes, the claim says 300000"),
        ("missing", "there is no such file; is the volume mounted here?"),
    ):
        code, _, err = run(claim(f"file://{store}/{name}"), f"--allow=file://{store}", "-o", "in")
        assert code == 1, name
        assert why in err
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
