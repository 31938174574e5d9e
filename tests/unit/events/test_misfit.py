from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from edgeagent.events.misfit import json_reason


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    """Something with members of several kinds."""

    name: str | None = None
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    pair: tuple[int, float] | None = None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"3", "must be an object, is a whole number"),
        (b'{"name":[]}', "name: must be a text or null, is an array"),
        (b'{"count":"1"}', "count: must be a whole number, is a text"),
        (b'{"count":0}', "count: must be a whole number >= 1"),
        (b'{"pair":[1]}', "pair: must be an array of length 2"),
        (b'{"pair":[1,true]}', "pair[1]: must be a number, is true or false"),
        (b'{"x":1}', 'object contains unknown field "x"'),
        (b"{x}", "object keys must be strings (byte 1)"),
        (b"", "it ends before it is complete"),
        (b'{"name":"\xff"}', "it is not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_without_the_names_of_pythons_types(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  msgspec's errors have no base of their own
        msgspec.json.decode(text, type=Thing)
    assert json_reason(caught.value) == reason


def test_json_without_end_is_nested_too_deep() -> None:
    with pytest.raises(RecursionError) as caught:
        msgspec.json.decode(b"[" * 100_000, type=Any)
    assert json_reason(caught.value) == "it is nested too deep"
