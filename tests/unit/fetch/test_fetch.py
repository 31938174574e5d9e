"""`edgeagent fetch`, as somebody calls it, from a server that behaves and from those that do not."""

from __future__ import annotations

import fcntl
import io
import json
import os
import random
import ssl
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from edgeagent.__main__ import main
from tests.fakes.artifact_server import ArtifactServer
from tests.fakes.certificates import Certificates

CONTENT = random.Random(16).randbytes(300_000)  # noqa: S311  no secret
EMPTY_SHA256 = sha256(b"").hexdigest()

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server() -> Iterator[ArtifactServer]:
    with ArtifactServer(CONTENT) as server:
        yield server


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls `edgeagent fetch` in `tmp_path`; returns the exit code, what it prints, and what it says on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(["fetch", *arguments])
        except SystemExit as exc:
            code = int(exc.code or 0)
        return code, *capsys.readouterr()

    return run


def claim(url: str, content: bytes = CONTENT, size: int | None = None, **more: str) -> str:
    size = len(content) if size is None else size
    return json.dumps(
        {"url": url, "size": size, "sha256": sha256(content).hexdigest(), "contentType": "image/jpeg"} | more
    )


def allow(server: ArtifactServer) -> str:
    return f"--allow={server.base}/"


def test_a_claim_becomes_the_file_that_it_says(server: ArtifactServer, run: Run, tmp_path: Path) -> None:
    code, out, err = run(claim(f"{server.base}/gw/frame.jpg?sig=geheim"), "-o", "in.jpg", allow(server))
    assert (code, err) == (0, "")
    assert (tmp_path / "in.jpg").read_bytes() == CONTENT
    assert out == f"in.jpg: 300000 bytes, sha256 {sha256(CONTENT).hexdigest()}, from {server.base}/gw/frame.jpg\n"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "in.jpg"]
    assert server.requests[0][0] == "/gw/frame.jpg?sig=geheim"


def test_a_url_with_its_hash_and_size_does_too_and_names_the_file(
    server: ArtifactServer, run: Run, tmp_path: Path
) -> None:
    digest = sha256(CONTENT).hexdigest()
    arguments = (f"{server.base}/gw/frame.jpg", "--sha256", digest.upper(), "--size", "300000", allow(server))
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    assert json.loads(out) == {
        "file": "frame.jpg",
        "size": 300_000,
        "sha256": digest,
        "contentType": "",
        "resumed": 0,
        "was_there": False,
    }
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT


def test_a_claim_on_stdin_is_read_with_whatever_else_a_body_holds(
    server: ArtifactServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = claim(f"{server.base}/frame.jpg", camera="north")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run("-", allow(server))[0] == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT


def test_what_is_there_already_is_not_fetched_again(server: ArtifactServer, run: Run, tmp_path: Path) -> None:
    (tmp_path / "frame.jpg").write_bytes(CONTENT)
    code, out, _ = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert (code, server.requests) == (0, [])
    assert out.endswith(", was there already\n")


def test_a_connection_that_breaks_is_made_again_from_where_it_was(
    server: ArtifactServer, run: Run, tmp_path: Path
) -> None:
    server.cut_after = [100_000, 50_000]
    assert run(claim(f"{server.base}/frame.jpg"), allow(server))[0] == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT
    assert server.asked_ranges == ["", "bytes=100000-", "bytes=150000-"]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(server: ArtifactServer, run: Run, tmp_path: Path) -> None:
    server.cut_after = [100_000]
    code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server), "--retry", "0")
    assert (code, err.count("\n")) == (69, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["frame.jpg.part"]
    code, out, _ = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert code == 0
    assert out.endswith(", continued after 100000 bytes\n")
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["frame.jpg"]


def test_a_server_without_ranges_sends_it_all_once_more(server: ArtifactServer, run: Run, tmp_path: Path) -> None:
    server.ranges = False
    server.cut_after = [100_000]
    assert run(claim(f"{server.base}/frame.jpg"), allow(server))[0] == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"something else", CONTENT + b"more", b"x" * len(CONTENT)])
def test_a_part_that_is_of_another_content_costs_a_second_try_and_no_more(
    server: ArtifactServer, run: Run, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "frame.jpg.part").write_bytes(left)
    assert run(claim(f"{server.base}/frame.jpg"), allow(server))[0] == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_cannot_answer_now_is_asked_again(
    server: ArtifactServer, run: Run, tmp_path: Path, status: int
) -> None:
    server.statuses = [status]
    assert run(claim(f"{server.base}/frame.jpg"), allow(server))[0] == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (404, "it answers 404: nothing is there"),
        (403, "it answers 403: it refuses access, or what allowed it has expired"),
        (401, "it answers 401: it needs credentials"),
        (418, "it answers 418"),
    ],
)
def test_a_refusal_is_not_asked_again(server: ArtifactServer, run: Run, status: int, why: str) -> None:
    server.statuses = [status]
    code, _, err = run(claim(f"{server.base}/frame.jpg?sig=geheim"), allow(server))
    assert (code, len(server.requests)) == (1, 1)
    assert why in err
    assert "geheim" not in err


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("sha256", EMPTY_SHA256), "it has the sha256 "),
        (("size", 299_999), "it has 300000 bytes, the claim says 299999"),
        (("size", 300_001), "it has 300000 bytes, the claim says 300001"),
    ],
)
def test_what_is_not_as_claimed_never_becomes_the_file(
    server: ArtifactServer, run: Run, tmp_path: Path, change: tuple[str, str | int], why: str
) -> None:
    (tmp_path / "frame.jpg").write_bytes(b"of yesterday")
    lie = json.dumps(json.loads(claim(f"{server.base}/frame.jpg")) | dict([change]))
    code, _, err = run(lie, allow(server))
    assert code == 1
    assert why in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"frame.jpg": b"of yesterday"}


def test_a_body_without_a_length_that_does_not_end_is_left_at_the_claimed_size(
    server: ArtifactServer, run: Run, tmp_path: Path
) -> None:
    server.headers = {"Content-Length": ""}
    code, _, err = run(claim(f"{server.base}/frame.jpg", size=1000), allow(server))
    assert code == 1
    assert "it goes on after the 1000 bytes that the claim says" in err
    assert [*tmp_path.iterdir()] == []


def test_a_server_that_lies_about_the_range_is_not_believed(server: ArtifactServer, run: Run, tmp_path: Path) -> None:
    (tmp_path / "frame.jpg.part").write_bytes(CONTENT[:1000])
    server.headers = {"Content-Range": "bytes 0-299999/300000"}
    code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert code == 1
    assert "it answers with another range than that from byte 1000 on" in err
    assert not (tmp_path / "frame.jpg").exists()


def test_a_compressed_answer_is_refused(server: ArtifactServer, run: Run) -> None:
    server.headers = {"Content-Encoding": "gzip"}
    code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert code == 1
    assert "it answers in the coding gzip" in err
    assert server.requests[0][1]["accept-encoding"] == "identity"


def test_an_empty_artifact_needs_no_request(server: ArtifactServer, run: Run, tmp_path: Path) -> None:
    assert run(claim(f"{server.base}/empty", b""), allow(server))[0] == 0
    assert (tmp_path / "empty").read_bytes() == b""
    assert server.requests == []


def test_two_at_a_time_do_not_write_one_file(server: ArtifactServer, run: Run, tmp_path: Path) -> None:
    with (tmp_path / "frame.jpg.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert code == 1
    assert "another process is writing frame.jpg.part" in err


def test_a_link_in_the_place_of_the_part_is_not_followed(server: ArtifactServer, run: Run, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "frame.jpg.part").symlink_to("precious")
    assert run(claim(f"{server.base}/frame.jpg"), allow(server))[0] == 1
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_place_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/frame.jpg").write_bytes(CONTENT)
    code, _, err = run(
        claim(f"file://{tmp_path}/store/frame.jpg"), "-o", "no/such/frame.jpg", f"--allow=file://{tmp_path}"
    )
    assert code == 1
    assert "fetch: no/such/frame.jpg cannot be written: No such file or directory" in err


# Where a claim may lead.


def test_a_machine_of_its_own_is_asked_only_if_it_is_named(server: ArtifactServer, run: Run) -> None:
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
        ("https://store.example/a/%2e%2e/x", "its path has a segment that is '.' or '..'"),
        ("https://store.example/a%2fb", "its path has a segment that is '.' or '..', or has a slash"),
        ("file://other/etc/passwd", "must be file:///path, without a host"),
        ("file:///etc/passwd", "is a file here: allow its directory"),
        ("https://store.example:0/x", "names no host"),
        ("https://store.example/\u202egpj.exe", "must be printable ASCII"),
        ("s3:///x", "names no bucket"),
        ("\x1b[2J", "must be printable ASCII"),
    ],
)
def test_a_hostile_claim_leads_nowhere(run: Run, tmp_path: Path, url: str, why: str) -> None:
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
        ('{"url": "https://store.example/x", "size": -1, "sha256": "' + EMPTY_SHA256 + '"}', "claim: size:"),
        ('{"url": "https://store.example/x", "size": 1, "sha256": "../../x"}', "claim: sha256:"),
        ('{"url": "https://store.example/x", "size": 1e30, "sha256": "' + EMPTY_SHA256 + '"}', "claim: size:"),
        ('{"size": 1}', "claim: "),
    ],
)
def test_what_is_no_claim_is_told_in_one_line(run: Run, text: str, why: str) -> None:
    code, _, err = run(text)
    assert (code, err.count("\n")) == (1, 1)
    assert why in err


def test_a_claim_of_a_size_that_nobody_expects_does_not_fill_the_disk(server: ArtifactServer, run: Run) -> None:
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
def test_wrong_usage_is_told_with_exit_code_2(run: Run, arguments: tuple[str, ...], why: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert why in err


def test_credentials_go_to_the_claims_server_and_not_to_where_it_redirects(
    server: ArtifactServer, run: Run, tmp_path: Path
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


def test_a_user_and_a_password_are_sent_as_basic_ones(server: ArtifactServer, run: Run, tmp_path: Path) -> None:
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
    server: ArtifactServer, run: Run, location: str, why: str
) -> None:
    server.redirects = {"/frame.jpg": location}
    code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert code == 1
    assert why in err


def test_tls_needs_an_authority_that_is_trusted_and_is_not_left(run: Run, tmp_path: Path) -> None:
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


def test_a_server_that_is_away_exits_69(run: Run, free_port: int) -> None:
    base = f"http://127.0.0.1:{free_port}"
    code, _, err = run(claim(f"{base}/frame.jpg"), f"--allow={base}", "--retry", "0s")
    assert code == 69
    assert err == f"edgeagent: {base}/frame.jpg: the connection failed (Connection refused)\n"


# Files of a mounted volume.


def test_a_file_is_read_from_below_an_allowed_directory(run: Run, tmp_path: Path) -> None:
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


def test_no_link_leads_out_of_an_allowed_directory(run: Run, tmp_path: Path) -> None:
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


def test_what_is_no_file_or_has_another_size_is_refused(run: Run, tmp_path: Path) -> None:
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
