from __future__ import annotations

import pytest

from edgeagent.webhooks.answer import DeliveryVerdict, verdict


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [
        ((200, 202, 204, 299), DeliveryVerdict.DONE),
        ((410,), DeliveryVerdict.GONE),
        ((400, 401, 403, 404, 405, 409, 413, 422, 499), DeliveryVerdict.REFUSED),
        ((408, 425, 429, 500, 502, 503, 504, 599), DeliveryVerdict.AGAIN),
        ((301, 302, 307, 308, 304, 600, 101), DeliveryVerdict.AGAIN),
    ],
)
def test_what_a_status_means(statuses: tuple[int, ...], meaning: DeliveryVerdict) -> None:
    assert {verdict(status) for status in statuses} == {meaning}
