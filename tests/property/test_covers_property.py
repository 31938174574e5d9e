"""`covers` against every topic there is, in a small world."""

from __future__ import annotations

from itertools import product

from hypothesis import example, given
from hypothesis import strategies as st

from edgeagent.wire.topics import covers, matches

# "z" is in no filter: whatever matches it does so by a wildcard. One level more than the filters have.
TOPICS = ["/".join(levels) for count in range(1, 5) for levels in product(("a", "b", "$a", "", "z"), repeat=count)]
LEVELS = st.sampled_from(["a", "b", "$a", "", "+"])


@st.composite
def filters(draw: st.DrawFn) -> str:
    levels = draw(st.lists(LEVELS, min_size=0, max_size=3))
    return "/".join([*levels, "#"] if not "/".join(levels) or draw(st.booleans()) else levels)


@given(filters(), filters())
@example("+/#", "#")
@example("/+/#", "/#")
@example("+/+/#", "/#")
def test_a_filter_covers_another_when_each_topic_of_that_one_fits_it(wide: str, narrow: str) -> None:
    fitting = [topic for topic in TOPICS if topic and matches(narrow, topic)]
    assert covers(wide, narrow) == all(matches(wide, topic) for topic in fitting)
