from __future__ import annotations

import pytest

from edgeagent.argo.failures import failure, not_json, stream_failure, watch_failure
from edgeagent.argo.wire import StreamError
from edgeagent.errors import EngineError, EngineRefused, EngineUnavailable, WatchExpired

URL = "https://argo.example:2746/api/v1/workflows/plant"


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, 3, "templates.main: spec.entrypoint is required"),
        (401, 16, "token not valid"),
        (403, 7, "exceeded quota"),
        (404, 5, 'workflowtemplates.argoproj.io "inspect" not found'),
        (409, 6, 'workflows.argoproj.io "overheat" already exists'),
    ],
)
def test_what_argo_says_of_the_workflow_is_a_refusal_in_its_own_words(status: int, code: int, message: str) -> None:
    error = failure(URL, status, b'{"code": %d, "message": "%s"}' % (code, message.replace('"', '\\"').encode()))
    assert isinstance(error, EngineRefused)
    assert (error.url, error.status, error.message) == (URL, status, message)


@pytest.mark.parametrize("status", [408, 429, 500, 501, 502, 503, 504, 599])
def test_what_may_pass_is_worth_another_try(status: int) -> None:
    error = failure(URL, status, b'{"code": 14, "message": "etcdserver: leader changed"}')
    assert isinstance(error, EngineUnavailable)
    assert error.reason == f"{status}: etcdserver: leader changed"
    assert error.retry_after_s is None


@pytest.mark.parametrize(
    ("retry_after", "expected_s"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("86400", 3600.0),
        ("-1", None),
        ("nan", None),
        ("Sat, 21 Mar 2026 11:00:01 UTC", None),
        ("", None),
    ],
)
def test_the_pause_that_was_asked_for_is_kept_within_reason(retry_after: str, expected_s: float | None) -> None:
    error = failure(URL, 429, b"Too Many Requests\n", retry_after=retry_after)
    assert isinstance(error, EngineUnavailable)
    assert (error.reason, error.retry_after_s) == ("429: Too Many Requests", expected_s)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b"Client sent an HTTP request to an HTTPS server.\n"),
        (404, b"<html><body>404 page not found</body></html>"),
        (404, b'{"message": "no Route matched with those values"}'),
        (405, b""),
        (409, b"\x00\xff"),
    ],
)
def test_what_something_in_between_says_makes_no_workflow_invalid_or_missing(status: int, body: bytes) -> None:
    error = failure(URL, status, body)
    assert isinstance(error, EngineUnavailable)
    assert f"{status} from a server that is not an Argo Server" in error.reason
    assert "check scheme, host, port and path" in error.reason


@pytest.mark.parametrize("status", [401, 403, 413])
def test_whoever_stands_in_front_may_refuse_token_and_size(status: int) -> None:
    error = failure(URL, status, b"<html>\r\n<h1>Go  away</h1>\r\n</html>")
    assert isinstance(error, EngineRefused)
    assert (error.status, error.message) == (status, "<html> <h1>Go away</h1> </html>")


def test_a_long_text_of_somebody_else_is_cut_and_stays_on_one_line() -> None:
    error = failure(URL, 403, ("no\x1b[31m\n" + "ä" * 5000).encode())
    assert isinstance(error, EngineRefused)
    assert len(error.message) == 500
    assert error.message.startswith(r"no\x1b[31m ää")
    assert error.message.endswith("ä… (5008 characters)")


@pytest.mark.parametrize("body", [b"", b"[]", b"[" * 100_000, b'{"code": 5}', b'{"code": "5"}', b"\xff" * 5000])
@pytest.mark.parametrize("status", [400, 404, 503])
def test_no_body_is_too_strange_for_an_answer_that_names_the_status(status: int, body: bytes) -> None:
    assert str(status) in str(failure(URL, status, body))


def test_an_answer_without_a_body_is_told_by_its_status() -> None:
    assert str(failure(URL, 503, b"")).startswith(f"{URL}: 503: Service Unavailable, without a reason: ")
    assert str(failure(URL, 599, b"")).startswith(f"{URL}: 599: an unknown status, without a reason: ")


def test_a_redirect_is_told_as_the_login_page_that_it_is() -> None:
    error = failure(URL, 302, b"<a>Found</a>", location="https://sso.example/auth?x=\r\n1")
    assert isinstance(error, EngineUnavailable)
    assert "302, redirected to https://sso.example/auth?x= 1: a login page or a proxy" in error.reason


STREAM_ENDS = [
    (429, "EOF", None),
    (429, "too many requests", EngineUnavailable),
    (503, "EOF", EngineUnavailable),
    (0, "", EngineUnavailable),
    (200, "odd", EngineUnavailable),
    (400, "too old resource version: 17 (4711)", WatchExpired),
    (400, "The resourceVersion for the provided watch is too old.", WatchExpired),
    (410, "Gone", WatchExpired),
    (400, "unable to parse requirement", EngineRefused),
    (401, "token not valid", EngineRefused),
    (403, "forbidden", EngineRefused),
]


def kind_of(error: EngineError | None) -> type[EngineError] | None:
    return None if error is None else type(error)


@pytest.mark.parametrize(("status", "message", "kind"), STREAM_ENDS)
def test_the_end_of_a_watch_is_told_by_its_status(status: int, message: str, kind: type[EngineError] | None) -> None:
    assert kind_of(stream_failure(URL, StreamError(grpc_code=2, http_code=status, message=message))) is kind


@pytest.mark.parametrize(("status", "message", "kind"), [end for end in STREAM_ENDS if end[0] >= 400])
@pytest.mark.parametrize("form", ['data: {"error": %s} \n\n\n', '{"error": %s}\n'])
def test_before_the_first_item_it_is_the_same_in_both_forms(
    form: str, status: int, message: str, kind: type[EngineError] | None
) -> None:
    body = form % f'{{"grpc_code": 8, "http_code": {status}, "message": "{message}", "http_status": "Some Text"}}'
    assert kind_of(watch_failure(URL, status, body.encode())) is kind


def test_a_watch_refused_before_it_was_one_is_as_any_request() -> None:
    assert kind_of(watch_failure(URL, 401, b'{"code": 16, "message": "token not valid"}')) is EngineRefused
    assert kind_of(watch_failure(URL, 404, b"<html>not here</html>")) is EngineUnavailable
    assert kind_of(watch_failure(URL, 302, b"", location="/login")) is EngineUnavailable
    limited = watch_failure(URL, 429, b"Too Many Requests\n", retry_after="2")
    assert isinstance(limited, EngineUnavailable)
    assert limited.retry_after_s == 2.0


def test_a_page_in_place_of_an_answer_is_shown_by_its_beginning() -> None:
    error = not_json(URL, b"<!doctype html>\n<title>Argo</title>" + b"x" * 10_000, "JSON is malformed")
    assert "(JSON is malformed): check the URL and its path" in error.reason
    assert "it begins: <!doctype html> <title>Argo</title>x" in error.reason
    assert len(error.reason) < 700


@pytest.mark.parametrize("body", [b"", b"{}", b"data: {}\n\n", b"data: {} \n\n\n", b":\n", b"null"])
def test_an_answer_that_says_nothing_is_told_in_words(body: bytes) -> None:
    error = watch_failure(URL, 500, body)
    assert str(error) == f"{URL}: 500: Internal Server Error, without a reason: see the log of the Argo Server"
