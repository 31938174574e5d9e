"""`[artifacts]`: what is taken, what is refused and why, and that no secret of it is repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.common.units import BitRate
from edgeagent.config import load_agent
from edgeagent.config.tables import AgentConfig, ArtifactsTable
from edgeagent.errors import ConfigError

RULE = '[[rule]]\nname = "r"\nnamespace = "plant"\ntemplate = "t"\n'


def loaded(tmp_path: Path, artifacts: str, others: str = "") -> AgentConfig:
    for name in ("key", "token", "password", "ca.pem"):
        (tmp_path / name).touch()
    file = tmp_path / "config.toml"
    file.write_text(f"{others}\n[artifacts]\n{artifacts}\n{RULE}", "utf-8")
    return load_agent(file, {})


def table(tmp_path: Path, artifacts: str) -> ArtifactsTable:
    found = loaded(tmp_path, artifacts).artifacts
    assert found is not None
    return found


def problems(tmp_path: Path, artifacts: str, others: str = "") -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, artifacts, others)
    return {problem.path: problem.reason for problem in caught.value.problems}


def test_a_store_alone_is_enough(tmp_path: Path) -> None:
    found = table(tmp_path, 'store = "file:///mnt/shared"')
    assert (found.inline_max, found.max_bytes, found.bandwidth) == (64 << 10, 1 << 30, None)


def test_bandwidths_are_bytes_a_second(tmp_path: Path) -> None:
    found = table(
        tmp_path,
        'store = "file:///mnt/shared"\nbandwidth = "2Mbit/s"\ntimezone = "Europe/Berlin"\n'
        'bandwidth_at = [{ from = "06:00", to = "22:00", rate = "0bit/s" }, '
        '{ from = "22:00", to = "06:00", rate = "1.5MiB/s" }]',
    )
    assert found.bandwidth == BitRate(250_000)
    assert [(span.start, span.stop, span.rate) for span in found.bandwidth_at] == [
        ("06:00", "22:00", 0),
        ("22:00", "06:00", 1.5 * (1 << 20)),
    ]


@pytest.mark.parametrize("text", ["2Mbit", "2 Mbit/s", "-1B/s", "", "1e3B/s", "Mbit/s", 5, None, True])
def test_what_is_no_rate_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        BitRate.parse(text)


@pytest.mark.parametrize(
    "store",
    [
        "https://dav.example/gateways/gw-1",
        "http://127.0.0.1:8080/",
        "file:///",
        "file:///mnt/with%20space",
    ],
)
def test_a_store_that_can_be_used(tmp_path: Path, store: str) -> None:
    assert table(tmp_path, f'store = "{store}"').store == store


@pytest.mark.parametrize("store", ["s3://bucket/prefix", "gs://bucket", "s3://my.bucket/"])
def test_a_bucket_with_its_key(tmp_path: Path, store: str) -> None:
    assert table(tmp_path, f'store = "{store}"\naccess_key_file = "key"').store == store


@pytest.mark.parametrize(
    ("lines", "key", "reason"),
    [
        ('store = "/mnt/shared"', "store", "is not an address for this"),
        ('store = "ftp://host/x"', "store", "is not an address for this"),
        ('store = "file://shared"', "store", "names no directory of this machine"),
        ('store = "file:///mnt/../etc"', "store", "no '..'"),
        ('store = "file:///mnt/%2e%2e/etc"', "store", "no '..'"),
        ('store = "https://"', "store", "is not an address for this"),
        ('store = "https://host:99999/"', "store", "is not an address for this"),
        ('store = "https://user:geheim@host/"', "store", "no user, password, query"),
        ('store = "https://host/?sig=geheim"', "store", "no user, password, query"),
        ('store = "https://host/a b"', "store", "printable ASCII"),
        ('store = "s3://B/x"\naccess_key_file = "key"', "store", "names no bucket"),
        ('store = "s3://bucket"', "access_key_file", "is missing"),
        ('store = "s3://bucket"\naccess_key_file = "key"\ntoken_file = "token"', "token_file", "has no meaning"),
        ('store = "https://host/"\nendpoint = "https://minio"', "endpoint", "has no meaning"),
        ('store = "https://host/"\nusername = "u"', "username", "belong together"),
        ('store = "https://host/"\ncert_file = "ca.pem"', "cert_file", "belong together"),
        ('store = "http://host/"\nca_file = "ca.pem"', "ca_file", "without TLS"),
        (
            'store = "https://host/"\nusername = "u"\npassword_file = "password"\ntoken_file = "token"',
            "token_file",
            "one way to log in",
        ),
        ('store = "file:///x"\npresign_url = "https://host/"', "presign_url", "has no meaning"),
        ('store = "file:///x"\npublic_url = "nowhere"', "public_url", "is not an address"),
        ('store = "file:///x"\ninline_max = "300KiB"', "inline_max", "outbox.max_event_bytes"),
        ('store = "file:///x"\nmax_bytes = "1KiB"', "max_bytes", "at least artifacts.inline_max"),
        ('store = "file:///x"\nbandwidth = "1bit/s"', "bandwidth", "must be at least 1000 bytes a second"),
        ('store = "file:///x"\ntimezone = "Mars/Olympus"', "timezone", "is no time zone"),
        ('store = "file:///x"\nbandwidth = "fast"', "bandwidth", "is not a rate"),
        ('inline_max = "64KiB"', "store", "is missing"),
    ],
)
def test_what_cannot_be_right_is_named_with_its_key(tmp_path: Path, lines: str, key: str, reason: str) -> None:
    found = problems(tmp_path, lines)
    assert reason in found[f"artifacts.{key}"]
    assert "geheim" not in str(found)


@pytest.mark.parametrize(
    ("span", "key", "reason"),
    [
        ('from = "6", to = "22:00", rate = "1MB/s"', "from", "time of day"),
        ('from = "06:00", to = "24:00", rate = "1MB/s"', "to", "time of day"),
        ('from = "06:00", to = "06:00", rate = "1MB/s"', "to", "the same as from"),
        ('from = "06:00", to = "07:00", rate = "1B/s"', "rate", "at least 1000"),
    ],
)
def test_a_time_of_day_that_cannot_be_right(tmp_path: Path, span: str, key: str, reason: str) -> None:
    found = problems(tmp_path, f'store = "file:///x"\nbandwidth_at = [{{ {span} }}]')
    assert reason in found[f"artifacts.bandwidth_at[0].{key}"]


def test_there_are_not_any_number_of_times_of_day(tmp_path: Path) -> None:
    spans = ", ".join(['{ from = "06:00", to = "07:00", rate = "1MB/s" }'] * 25)
    found = problems(tmp_path, f'store = "file:///x"\nbandwidth_at = [{spans}]')
    assert "at most 24" in found["artifacts.bandwidth_at"]
