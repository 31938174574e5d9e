"""`edgeagent fetch`, as somebody calls it, from a server that behaves and from those that do not."""

from __future__ import annotations

import fcntl
import io
import json
import os
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.fakes.artifact_server import ArtifactServer
from tests.fakes.fetching import CONTENT, Fetch, allow, claim

pytestmark = pytest.mark.slow  # servers or processes of its own


def test_a_claim_becomes_the_file_that_it_says(server: ArtifactServer, run: Fetch, tmp_path: Path) -> None:
    code, out, err = run(claim(f"{server.base}/gw/frame.jpg?sig=geheim"), "-o", "in.jpg", allow(server))
    assert (code, err) == (0, "")
    assert (tmp_path / "in.jpg").read_bytes() == CONTENT
    assert out == f"in.jpg: 300000 bytes, sha256 {sha256(CONTENT).hexdigest()}, from {server.base}/gw/frame.jpg\n"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "in.jpg"]
    assert server.requests[0][0] == "/gw/frame.jpg?sig=geheim"


def test_whom_the_umask_lets_read_can_read_the_file(server: ArtifactServer, run: Fetch, tmp_path: Path) -> None:
    assert run(claim(f"{server.base}/gw/frame.jpg"), "-o", "in.jpg", allow(server))[0] == 0
    (usual := tmp_path / "usual").touch()
    assert (tmp_path / "in.jpg").stat().st_mode == usual.stat().st_mode


def test_a_url_with_its_hash_and_size_does_too_and_names_the_file(
    server: ArtifactServer, run: Fetch, tmp_path: Path
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
    server: ArtifactServer, run: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = claim(f"{server.base}/frame.jpg", camera="north")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run("-", allow(server))[0] == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT


def test_what_is_there_already_is_not_fetched_again(server: ArtifactServer, run: Fetch, tmp_path: Path) -> None:
    (tmp_path / "frame.jpg").write_bytes(CONTENT)
    code, out, _ = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert (code, server.requests) == (0, [])
    assert out.endswith(", was there already\n")


def test_a_connection_that_breaks_is_made_again_from_where_it_was(
    server: ArtifactServer, run: Fetch, tmp_path: Path
) -> None:
    server.cut_after = [100_000, 50_000]
    assert run(claim(f"{server.base}/frame.jpg"), allow(server))[0] == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT
    assert server.asked_ranges == ["", "bytes=100000-", "bytes=150000-"]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(server: ArtifactServer, run: Fetch, tmp_path: Path) -> None:
    server.cut_after = [100_000]
    code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server), "--retry", "0")
    assert (code, err.count("\n")) == (69, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["frame.jpg.part"]
    code, out, _ = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert code == 0
    assert out.endswith(", continued after 100000 bytes\n")
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["frame.jpg"]


def test_a_server_without_ranges_sends_it_all_once_more(server: ArtifactServer, run: Fetch, tmp_path: Path) -> None:
    server.ranges = False
    server.cut_after = [100_000]
    assert run(claim(f"{server.base}/frame.jpg"), allow(server))[0] == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"something else", CONTENT + b"more", b"x" * len(CONTENT)])
def test_a_part_that_is_of_another_content_costs_a_second_try_and_no_more(
    server: ArtifactServer, run: Fetch, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "frame.jpg.part").write_bytes(left)
    assert run(claim(f"{server.base}/frame.jpg"), allow(server))[0] == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_cannot_answer_now_is_asked_again(
    server: ArtifactServer, run: Fetch, tmp_path: Path, status: int
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
def test_a_refusal_is_not_asked_again(server: ArtifactServer, run: Fetch, status: int, why: str) -> None:
    server.statuses = [status]
    code, _, err = run(claim(f"{server.base}/frame.jpg?sig=geheim"), allow(server))
    assert (code, len(server.requests)) == (1, 1)
    assert why in err
    assert "geheim" not in err


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            ("sha256", sha256(b"").hexdigest()),
            f"{sha256(CONTENT).hexdigest()}, the claim says {sha256(b'').hexdigest()}",
        ),
        (("size", 299_999), "it has 300000 bytes, the claim says 299999"),
        (("size", 300_001), "it has 300000 bytes, the claim says 300001"),
    ],
)
def test_what_is_not_as_claimed_never_becomes_the_file(
    server: ArtifactServer, run: Fetch, tmp_path: Path, change: tuple[str, str | int], why: str
) -> None:
    (tmp_path / "frame.jpg").write_bytes(b"of yesterday")
    lie = json.dumps(json.loads(claim(f"{server.base}/frame.jpg")) | dict([change]))
    code, _, err = run(lie, allow(server))
    assert code == 1
    assert why in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"frame.jpg": b"of yesterday"}


def test_a_body_without_a_length_that_does_not_end_is_left_at_the_claimed_size(
    server: ArtifactServer, run: Fetch, tmp_path: Path
) -> None:
    server.headers = {"Content-Length": ""}
    code, _, err = run(claim(f"{server.base}/frame.jpg", size=1000), allow(server))
    assert code == 1
    assert "it goes on after the 1000 bytes that the claim says" in err
    assert [*tmp_path.iterdir()] == []


def test_a_server_that_lies_about_the_range_is_not_believed(server: ArtifactServer, run: Fetch, tmp_path: Path) -> None:
    (tmp_path / "frame.jpg.part").write_bytes(CONTENT[:1000])
    server.headers = {"Content-Range": "bytes 0-299999/300000"}
    code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert code == 1
    assert "it answers with another range than that from byte 1000 on" in err
    assert not (tmp_path / "frame.jpg").exists()


def test_a_compressed_answer_is_refused(server: ArtifactServer, run: Fetch) -> None:
    server.headers = {"Content-Encoding": "gzip"}
    code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert code == 1
    assert "it answers in the coding gzip" in err
    assert server.requests[0][1]["accept-encoding"] == "identity"


def test_an_empty_artifact_needs_no_request(server: ArtifactServer, run: Fetch, tmp_path: Path) -> None:
    assert run(claim(f"{server.base}/empty", b""), allow(server))[0] == 0
    assert (tmp_path / "empty").read_bytes() == b""
    assert server.requests == []


def test_two_at_a_time_do_not_write_one_file(server: ArtifactServer, run: Fetch, tmp_path: Path) -> None:
    with (tmp_path / "frame.jpg.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert code == 1
    assert "another process is writing frame.jpg.part" in err


def test_a_link_in_the_place_of_the_part_is_not_followed(server: ArtifactServer, run: Fetch, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "frame.jpg.part").symlink_to("precious")
    assert run(claim(f"{server.base}/frame.jpg"), allow(server))[0] == 1
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["frame.jpg", "frame.jpg.part"])
def test_what_is_no_file_is_neither_replaced_nor_waited_for(
    server: ArtifactServer, run: Fetch, tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / name)  # as /dev/null is none
    code, _, err = run(claim(f"{server.base}/frame.jpg"), allow(server))
    assert (code, f"fetch: {name} is there, and is no ordinary file" in err) == (1, True)
    assert (tmp_path / name).is_fifo()


def test_a_place_that_cannot_be_written_is_told(run: Fetch, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/frame.jpg").write_bytes(CONTENT)
    code, _, err = run(
        claim(f"file://{tmp_path}/store/frame.jpg"), "-o", "no/such/frame.jpg", f"--allow=file://{tmp_path}"
    )
    assert code == 1
    assert "fetch: no/such/frame.jpg cannot be written: No such file or directory" in err
