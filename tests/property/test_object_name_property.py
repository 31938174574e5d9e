from __future__ import annotations

import re
from hashlib import sha256
from pathlib import PurePosixPath

from hypothesis import example, given
from hypothesis import strategies as st

from edgeagent.events.object_name import object_name

DAY_MS = 86_400_000
SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,128}")
# What a device may choose: much of it plain, some of it meant to lead somewhere else.
chosen = st.one_of(
    st.text(min_size=1, max_size=20),
    st.text("abcAZ019._-/\\%", min_size=1, max_size=12),
    st.sampled_from([".", "..", "../x", "a/../b", "a/b", "%2e%2e", "…", "a" * 128, "a" * 129, "0" * 40, "\ud800"]),
)
moments = st.integers(0, 4_000 * 366 * DAY_MS)


@given(chosen, moments, chosen)
def test_the_name_has_four_plain_segments_and_never_leaves_its_agent(source: str, ms: int, event_id: str) -> None:
    name = object_name("gw-042", source, ms, event_id)
    agent, *others = name.split("/")
    assert agent == "gw-042"
    assert len(others) == 3
    assert all(SEGMENT.fullmatch(segment) and segment not in {".", ".."} for segment in others)
    assert PurePosixPath("/store", name).parts[2] == "gw-042"


@given(chosen, chosen, moments, chosen, chosen)
@example("boiler", "boiler", 0, "a/b", sha256(b"a/b").hexdigest()[:40])
def test_no_two_events_of_a_day_share_a_name(one: str, other: str, ms: int, one_id: str, other_id: str) -> None:
    same = (one, one_id) == (other, other_id)
    assert (object_name("gw", one, ms, one_id) == object_name("gw", other, ms, other_id)) == same


@given(chosen, moments, chosen)
def test_a_name_of_the_form_of_a_digest_cannot_be_chosen(source: str, ms: int, event_id: str) -> None:
    name = object_name("gw", source, ms, event_id)
    _, _, _, last = name.split("/")
    if last != event_id:  # a digest: a device that sends the digest itself as an id gets another name
        assert object_name("gw", source, ms, last) != name


def test_a_plain_id_is_readable_in_the_name_and_the_day_is_that_of_utc() -> None:
    assert object_name("gw-042", "press-3", 20_000 * DAY_MS - 1, "0198-a.b_C") == "gw-042/press-3/2024-10-03/0198-a.b_C"
    assert object_name("gw-042", "press-3", 20_000 * DAY_MS, "1").split("/")[2] == "2024-10-04"
