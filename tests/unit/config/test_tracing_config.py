from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.config.tables import FilePath, TracingTable
from edgeagent.config.tracing import collector_headers, traces_url, tracing_problems


def problems(**keys: object) -> dict[str, str]:
    table = TracingTable(**{"endpoint": "http://127.0.0.1:4318", **keys})  # type: ignore[arg-type]
    return {problem.path: problem.reason for problem in tracing_problems(table)}


def test_the_endpoint_is_a_collectors_or_the_whole_address() -> None:
    assert traces_url("http://127.0.0.1:4318") == "http://127.0.0.1:4318/v1/traces"
    assert traces_url("https://otlp.example/otlp/") == "https://otlp.example/otlp/v1/traces"
    assert traces_url("https://otlp.example/v1/traces") == "https://otlp.example/v1/traces"


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4318", "https://otlp.example/otlp", "http://[::1]:4318"])
def test_an_address_is_taken(endpoint: str) -> None:
    assert problems(endpoint=endpoint) == {}


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "127.0.0.1:4318",
        "grpc://host:4317",
        "http://",
        "http://host:0",
        "http://host:x",
        "http://h ost",
        "http://[::1",
    ],
)
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    assert "is not the address of a collector" in problems(endpoint=endpoint)["tracing.endpoint"]


def test_a_secret_in_the_address_is_refused_and_not_repeated() -> None:
    for endpoint in ("https://user:geheim@host", "https://host/?token=geheim", "https://host/#geheim"):
        found = problems(endpoint=endpoint)["tracing.endpoint"]
        assert "headers_file" in found
        assert "geheim" not in found


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    assert "tracing.sample" in problems(sample=1.5)
    assert "tracing.sample" in problems(sample=-0.1)
    assert "has no TLS" in problems(ca_file=FilePath("/ca.pem"))["tracing.endpoint"]
    file = tmp_path / "headers"
    file.write_text("geheim\n", "utf-8")
    found = problems(headers_file=FilePath(file))["tracing.headers_file"]
    assert "line 1 is not a header" in found
    assert "geheim" not in found
    assert "No such file" in problems(headers_file=FilePath(tmp_path / "gone"))["tracing.headers_file"]


def test_headers_are_names_and_values_and_nothing_that_the_request_says_itself() -> None:
    assert list(collector_headers(b"Authorization: Bearer a:b\r\n\nX-Id:1\n")) == [
        ("authorization", "Bearer a:b"),
        ("x-id", "1"),
    ]
    for wrong in (b"Host: a", b"Content-Length: 1", b"a b: c", b": c", b"a: \x01", b"\xff", b"a: \xc3\xa4"):
        with pytest.raises(ValueError):  # noqa: PT011  of several kinds
            list(collector_headers(wrong))
    with pytest.raises(ValueError, match="at most 16"):
        list(collector_headers(b"a: 1\n" * 17))
