from __future__ import annotations

from edgeagent.agent.link_time import LinkTime


def test_the_time_without_and_with_the_link_is_taken_once() -> None:
    link = LinkTime(100.0)
    link.turned(110.0, up=True)
    assert link.taken(115.0) == (10.0, 5.0)
    assert link.taken(115.0) == (0.0, 0.0)
    link.turned(120.0, up=False)
    link.turned(121.0, up=False)  # another attempt failed
    assert link.taken(130.0) == (10.0, 5.0)
