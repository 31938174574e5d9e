from __future__ import annotations

import gzip
import zlib

import pytest

from edgeagent.errors import MessageError
from edgeagent.httpapi.coding import coding_of, uncompressed
from edgeagent.httpapi.problem import Refused

TEXT = b'{"temp":97.1}' * 10
RAW = zlib.compressobj(wbits=-15)
BARE = RAW.compress(TEXT) + RAW.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("gzip", gzip.compress(TEXT[:50], mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(TEXT[50:], mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", zlib.compress(TEXT, 0)),
        ("deflate", BARE),
    ],
)
def test_a_body_is_what_it_was_before_it_was_compressed(coding: str, body: bytes) -> None:
    assert uncompressed(coding, body, len(TEXT)) == TEXT
    with pytest.raises(Refused, match=r"at most 129 are taken") as caught:
        uncompressed(coding, body, len(TEXT) - 1)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("coding", "body", "reason"),
    [
        ("gzip", b"", "ends before it is complete"),
        ("gzip", TEXT, "is not valid gzip data"),
        ("gzip", zlib.compress(TEXT), "is not valid gzip data"),
        ("gzip", gzip.compress(TEXT, mtime=0)[:-1], "ends before it is complete"),
        ("gzip", gzip.compress(TEXT, mtime=0)[:-8] + b"\0" * 8, "is not valid gzip data"),
        ("gzip", gzip.compress(TEXT, mtime=0) + b"\0", "ends before it is complete"),
        ("gzip", gzip.compress(TEXT, mtime=0) + b"garbage...", "is not valid gzip data"),
        ("gzip", gzip.compress(b"", mtime=0) * 1001, "something follows"),
        ("deflate", b"", "ends before it is complete"),
        ("deflate", TEXT, "is not valid deflate data"),
        ("deflate", zlib.compress(TEXT)[:-1], "ends before it is complete"),
        ("deflate", zlib.compress(TEXT) + b"x", "something follows"),
        ("deflate", BARE + BARE, "something follows"),
    ],
)
def test_a_broken_body_is_refused_in_plain_words(coding: str, body: bytes, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        uncompressed(coding, body, 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_never_becomes_larger_than_a_body_may_be(coding: str) -> None:
    bomb = (gzip if coding == "gzip" else zlib).compress(b"\0" * (64 << 20))
    with pytest.raises(Refused, match="has 100001 bytes or more"):
        uncompressed(coding, bomb, 100_000)


@pytest.mark.parametrize(
    ("header", "coding"),
    [(b"identity", ""), (b" GZip ", "gzip"), (b"x-gzip", "gzip"), (b"deflate", "deflate")],
)
def test_a_coding_is_known_however_it_is_written(header: bytes, coding: str) -> None:
    assert coding_of(header) == coding


@pytest.mark.parametrize("header", [b"br", b"zstd", b"gzip, gzip", b"\xff"])
def test_another_coding_is_415_and_the_answer_says_what_is_understood(header: bytes) -> None:
    with pytest.raises(Refused) as caught:
        coding_of(header)
    assert (caught.value.status, caught.value.headers) == (415, ((b"accept-encoding", b"gzip, deflate"),))
