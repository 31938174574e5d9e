"""How an object is cut into parts, and what is read of answers that anybody may have written."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.artifacts.multipart import (
    MAX_PARTS,
    PART_BYTES,
    OpenUpload,
    PartOfObject,
    completion,
    error_of,
    listed,
    part_bytes,
    sizes,
    upload_id,
)


@given(st.integers(1, 5 << 40))
def test_parts_make_up_the_object_and_are_as_many_as_the_service_takes(size: int) -> None:
    each = part_bytes(size)
    count = -(-size // each)
    assert each >= PART_BYTES
    assert count <= MAX_PARTS
    if count < 2000:
        parts = sizes(size, each)
        assert sum(parts) == size
        assert all(part == each for part in parts[:-1])
        assert 0 < parts[-1] <= each


def test_an_uploads_id_is_found() -> None:
    answer = "<?xml?><InitiateMultipartUploadResult xmlns='x'><Bucket>b</Bucket><UploadId>a&amp;b</UploadId></R>"
    assert upload_id(answer) == "a&b"


@pytest.mark.parametrize(
    "answer", ["", "<UploadId></UploadId>", "<UploadId>a\nb</UploadId>", "<UploadId>" + "u" * 4000 + "</UploadId>"]
)
def test_an_id_that_cannot_be_used_is_none(answer: str) -> None:
    assert upload_id(answer) is None


def test_parts_are_listed_by_pages() -> None:
    page = listed(
        "<IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>"
        "<Part><PartNumber>1</PartNumber><ETag>&quot;e1&quot;</ETag><Size>8</Size></Part>"
        "<Part><Size>3</Size><ETag>&quot;e2&quot;</ETag><PartNumber>2</PartNumber></Part>"
        "<Part><PartNumber>x</PartNumber><ETag>e</ETag><Size>8</Size></Part>"
        "<Part><PartNumber>4</PartNumber><Size>8</Size></Part>"
    )
    assert page.parts == {1: PartOfObject(8, '"e1"'), 2: PartOfObject(3, '"e2"')}
    assert page.after == 2
    assert listed("<IsTruncated>false</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>").after == 0


@pytest.mark.slow
def test_a_list_of_parts_leads_nobody_astray() -> None:
    assert not listed("<Part>" * 170_000).parts  # as much as is read of an answer: a search for each took half an hour
    page = listed(
        f"<Part><PartNumber>{MAX_PARTS + 1}</PartNumber><Size>8</Size><ETag>e</ETag></Part>"
        f"<IsTruncated>true</IsTruncated><NextPartNumberMarker>{MAX_PARTS}</NextPartNumberMarker>"
    )
    assert (dict(page.parts), page.after) == ({}, 0), "no object has so many, and the next page is asked for no more"


def test_a_completion_names_all_parts_in_order_and_nothing_breaks_out_of_it() -> None:
    assert completion(['"a"', "<&>"]) == (
        b"<CompleteMultipartUpload>"
        b'<Part><PartNumber>1</PartNumber><ETag>"a"</ETag></Part>'
        b"<Part><PartNumber>2</PartNumber><ETag>&lt;&amp;&gt;</ETag></Part>"
        b"</CompleteMultipartUpload>"
    )


def test_an_error_has_its_code_and_words() -> None:
    assert error_of("<Error><Code>SlowDown</Code><Message>not &lt;now&gt;</Message></Error>") == (
        "SlowDown",
        "not <now>",
    )
    assert error_of("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>") == ("", "")


@given(st.text(st.sampled_from('<>/&;PartNumberETagSize0123456789\n"')))
def test_no_answer_breaks_the_reader(answer: str) -> None:
    upload_id(answer)
    error_of(answer)
    page = listed(answer)
    assert all(re.fullmatch(r"[ -~]+", part.etag) for part in page.parts.values())


@pytest.mark.parametrize("members", [[], ["", 8], ["u", 0], ["u" * 3000, 8], ["u", -1], [1, 2]])
def test_what_was_kept_is_checked_when_it_is_read_back(members: list[object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(members), type=OpenUpload)
