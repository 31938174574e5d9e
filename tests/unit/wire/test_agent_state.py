from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import MessageError
from edgeagent.wire.agent_state import MAX_STATE_BYTES, bounded_headroom_s, parse_agent_state


@pytest.mark.parametrize(
    ("payload", "member"),
    [
        (b"", ""),
        (b"ONLINE", ""),
        (b"[]", ""),
        (b"{}", ""),
        (b'{"state":"asleep"}', "state"),
        (b'{"state":"online","pending":-1}', "pending"),
        (b'{"state":"online","pending":1e300}', "pending"),
        (b'{"state":"online","pending":"many"}', "pending"),
        (b'{"state":"online","headroom_s":-1}', "headroom_s"),
        (b'{"state":"online","headroom_s":1e30}', "headroom_s"),
        (b'{"state":"online","since":"yesterday"}', "since"),
        (b'{"state":"online","oldest":"9999-99-99T00:00:00Z"}', "oldest"),
        (b'{"state":"online","since":"0001-01-01T00:00:00+14:00"}', "since"),
        (b'{"state":"online","oldest":"9999-12-31T23:59:59-12:00"}', "oldest"),
        (b'{"state":"online","since":"%b"}' % (b"2" * 65), "since"),
        (b'{"state":"online","version":"%b"}' % (b"v" * 65), "version"),
        (b'{"state":"online","reason":"%b"}' % (b"x" * MAX_STATE_BYTES), ""),
        (b"[" * 5000, ""),
        (b'{"state":"online","reason":"\xff"}', ""),
    ],
)
def test_a_hostile_state_is_one_bad_message_and_names_the_member(payload: bytes, member: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse_agent_state(payload)
    assert caught.value.member == member


def test_members_of_later_versions_are_ignored_and_a_long_reason_is_cut() -> None:
    state = parse_agent_state(b'{"state":"online","mood":[1],"version":"99.0","reason":"%b"}' % ("ä".encode() * 3000))
    assert state.version == "99.0"
    assert len(state.reason.encode()) == 1024


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_do_more_than_be_refused(payload: bytes) -> None:
    with suppress(MessageError):
        parse_agent_state(payload)


@pytest.mark.parametrize(("hours", "seconds"), [(None, None), (0.0, 0), (26.5, 95_400), (1e12, 3_153_600_000)])
def test_headroom_stays_within_the_messages_bounds(hours: float | None, seconds: int | None) -> None:
    assert bounded_headroom_s(hours) == seconds
