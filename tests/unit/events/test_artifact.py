"""An artifact, read back: what cannot be one is refused."""

from __future__ import annotations

import msgspec
import pytest

from edgeagent.events.artifact import Artifact

ARTIFACT = Artifact("0a" * 32, 5_000_000, "image/jpeg")


def test_an_artifact_is_read_as_it_was_written() -> None:
    encoded = msgspec.msgpack.encode(ARTIFACT)
    assert msgspec.msgpack.decode(encoded, type=Artifact) == ARTIFACT
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(["0a" * 32, 1]), type=Artifact) == Artifact("0a" * 32, 1, "")


@pytest.mark.parametrize(
    "members",
    [
        ["../../etc/passwd", 1, ""],
        ["0A" * 32, 1, ""],
        ["0a" * 32 + "\n", 1, ""],
        ["0a" * 33, 1, ""],
        ["0a" * 32, -1, ""],
        ["0a" * 32, 1.5, ""],
        ["0a" * 32, 1 << 63, ""],
        ["0a" * 32, 1, "x" * 1025],
        ["0a" * 32],
    ],
)
def test_what_cannot_be_an_artifact_is_refused(members: list[object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(members), type=Artifact)
