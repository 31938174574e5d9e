"""What a store's status means: nothing about the store itself is for good, and only a size is about the object."""

from __future__ import annotations

import pytest

from edgeagent.artifacts.answers import failure_of
from edgeagent.errors import StoreFailed, StoreRefused


@pytest.mark.parametrize("status", [200, 201, 204, 207])
def test_a_success_is_no_failure(status: int) -> None:
    assert failure_of("s", status, "", 0.0) is None


def test_only_a_size_is_refused_for_good() -> None:
    for status in range(100, 600):
        error = failure_of("s", status, "", 0.0)
        assert isinstance(error, StoreRefused) == (status == 413), status


@pytest.mark.parametrize(
    ("statuses", "needs_somebody"),
    [((408, 425, 429, 500, 502, 503, 504, 507), False), ((301, 308, 400, 401, 403, 404, 405, 409, 411, 501), True)],
)
def test_what_passes_by_itself_is_tried_again_soon_and_the_rest_seldom(
    statuses: tuple[int, ...], needs_somebody: bool
) -> None:
    for status in statuses:
        error = failure_of("s", status, "its words", 7.0)
        assert isinstance(error, StoreFailed)
        assert error.needs_somebody is needs_somebody, status
        assert str(status) in error.reason


def test_the_words_and_the_wait_are_passed_on() -> None:
    error = failure_of("dav.example", 507, "quota of gw", 60.0)
    assert isinstance(error, StoreFailed)
    assert str(error) == "dav.example: it is full (507): quota of gw"
    assert error.retry_after_s == 60.0
