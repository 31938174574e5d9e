from __future__ import annotations

import pytest

from tests.fakes.dispatching import DOWN, Stage
from tests.waiting import turns

pytestmark = pytest.mark.virtual_time


async def test_a_message_that_is_not_wanted_any_more_goes_out_neither_now_nor_on_the_next_connection() -> None:
    stage, wanted, taken = Stage(), {"old": True, "new": True}, list[str]()

    def send(term: str, text: str) -> None:
        stage.dispatcher.send("t", text.encode(), on_taken=lambda _: taken.append(text), wanted=lambda: wanted[term])

    first = stage.connect(room=2)
    for text in ("written", "in flight", "waiting"):
        send("old", text)
    await turns()
    assert [publication.payload for publication in first.published] == [b"written", b"in flight"]
    wanted["old"] = False
    stage.answer(first.published[0])  # it was on its way
    await turns()
    assert len(first.published) == 2
    stage.dispatcher.on_down(DOWN)
    send("new", "of now")
    second = stage.connect(room=1)
    await turns()
    assert [publication.payload for publication in second.published] == [b"of now"]
    stage.answer(second.published[0])
    assert taken == ["written", "of now"]
