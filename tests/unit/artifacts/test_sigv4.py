"""Signatures for S3, beside the service's own examples and Amazon's own library."""

from __future__ import annotations

from datetime import UTC, datetime

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.artifacts.sigv4 import AccessKey, S3Request, access_key, encoded, signed_headers

# "Examples: Signature Calculations in AWS Signature Version 4", Amazon S3 API Reference.
KEY = AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
AT = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "examplebucket.s3.amazonaws.com"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def signature(request: S3Request, headers: dict[str, str], at: datetime = AT) -> str:
    return signed_headers(request, headers, KEY, "us-east-1", at)["authorization"].partition("Signature=")[2]


def test_the_services_own_examples_have_the_same_signatures() -> None:
    get = S3Request("GET", HOST, "/test.txt", {}, EMPTY)
    assert signature(get, {"Range": "bytes=0-9"}) == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    put = S3Request(
        *("PUT", HOST, encoded("/test$file.text", is_path=True), {}),
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
    )
    headers = {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    assert signature(put, headers) == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    lifecycle = S3Request("GET", HOST, "/", {"lifecycle": ""}, EMPTY)
    assert signature(lifecycle, {}) == "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    listing = S3Request("GET", HOST, "/", {"prefix": "J", "max-keys": "2"}, EMPTY)
    assert signature(listing, {}) == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"


class _FixedSigner(S3SigV4Auth):  # type: ignore[misc]  # boto's classes have no types
    """Amazon's signer, for requests of which the time and the payload's hash are given."""

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        del request.headers["Authorization"]

    def payload(self, request: AWSRequest) -> str:
        return str(request.headers["X-Amz-Content-SHA256"])


@given(name=TEXT, query=st.dictionaries(st.sampled_from(["uploadId", "partNumber", "a b"]), TEXT), kind=TEXT)
def test_amazons_own_library_signs_the_same(name: str, query: dict[str, str], kind: str) -> None:
    kind = kind if kind.isascii() and kind.isprintable() else "text/plain"
    request = S3Request("PUT", HOST, encoded(f"/{name}", is_path=True), query, "ab" * 32)
    ours = signed_headers(request, {"content-type": kind}, KEY, "eu-central-1", AT)
    theirs = AWSRequest(
        "PUT",
        f"https://{HOST}{request.target}",
        headers={name: value for name, value in ours.items() if name not in {"authorization", "host"}},
    )
    theirs.context["timestamp"] = "20130524T000000Z"
    signer = _FixedSigner(Credentials(KEY.id, KEY.secret), "s3", "eu-central-1")
    canonical = signer.canonical_request(theirs)
    expected = signer.signature(signer.string_to_sign(theirs, canonical), theirs)
    assert ours["authorization"].partition("Signature=")[2] == expected


def test_a_secret_is_never_shown() -> None:
    key = access_key("id\n secret \n")
    assert key == ("id", "secret")
    assert "secret" not in repr(key)
    assert "secret" not in f"{key}"
