from __future__ import annotations

import hashlib

from edgeagent.common.digests import blake2b


def test_it_is_the_hash_of_the_standard_library() -> None:
    assert blake2b is hashlib.blake2b
