"""Calls over TLS, to a service that checks each token as Google's does: signature, audience and time."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from edgeagent.errors import Denied
from edgeagent.pubsub.client import PubSubClient
from edgeagent.pubsub.credentials import KeyFile, ServiceClock
from edgeagent.pubsub.messages import publish_body
from edgeagent.pubsub.outcomes import Verdict
from tests.fakes.pubsub import Asked, FakePubSub, Fault

pytestmark = pytest.mark.slow  # servers or processes of its own


ADDRESS = "pubsub://plant-42/triggers"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def key_file(tmp_path: Path, private_key: rsa.RSAPrivateKey) -> str:
    return written(tmp_path / "key.json", private_key)


def written(path: Path, key: rsa.RSAPrivateKey) -> str:
    """A service account's key file; returns its name."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    members = {"type": "service_account", "client_email": "gw@plant-42.iam.gserviceaccount.com"}
    path.write_text(json.dumps(members | {"private_key": pem.decode(), "private_key_id": "k1"}), "utf-8")
    return str(path)


@pytest.fixture
def server(authority: trustme.CA, private_key: rsa.RSAPrivateKey) -> Iterator[FakePubSub]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FakePubSub(context=context) as found:
        found.topic("triggers")

        def judge(asked: Asked) -> None:
            text, _, signature = asked.bearer.removeprefix("Bearer ").rpartition(".")
            claims = json.loads(base64.urlsafe_b64decode(text.partition(".")[2] + "=="))
            now_s = time.time() + found.ahead_s
            try:
                private_key.public_key().verify(
                    base64.urlsafe_b64decode(signature + "=="), text.encode(), padding.PKCS1v15(), hashes.SHA256()
                )
            except InvalidSignature:
                raise Fault(401, "the signature is wrong") from None
            if claims["aud"] != "https://pubsub.googleapis.com/" or not claims["iat"] - 60 <= now_s <= claims["exp"]:
                raise Fault(401, "Request had invalid authentication credentials.")

        found.judge = judge
        yield found


def client(server: FakePubSub, authority: trustme.CA, key_file: str, clock: ServiceClock) -> PubSubClient:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    source = KeyFile(ADDRESS, key_file, clock)
    return PubSubClient(ADDRESS, source, clock, base_url=f"https://{server.host}", context=context)


async def published(client: PubSubClient, topic: str) -> Verdict:
    try:
        return (await client.call("publish", topic, publish_body([b'{"data":"e30=","attributes":{}}']))).judged.verdict
    finally:
        await client.aclose()


async def test_a_self_signed_token_is_accepted(server: FakePubSub, authority: trustme.CA, key_file: str) -> None:
    found = await published(client(server, authority, key_file, ServiceClock()), server.topic("triggers"))
    assert found is Verdict.DONE
    assert len(server.asked) == 1


@pytest.mark.parametrize("ahead_s", [400 * 86_400.0, -2 * 3600.0])
async def test_a_wrong_clock_is_corrected_by_the_first_refusal(
    server: FakePubSub, authority: trustme.CA, key_file: str, ahead_s: float
) -> None:
    server.ahead_s = ahead_s
    found = await published(client(server, authority, key_file, ServiceClock()), server.topic("triggers"))
    assert found is Verdict.DONE
    assert len(server.asked) == 2


async def test_a_key_of_somebody_else_is_refused_after_one_more_try(
    server: FakePubSub, authority: trustme.CA, tmp_path: Path
) -> None:
    path = written(tmp_path / "other.json", rsa.generate_private_key(65537, 2048))
    with pytest.raises(Denied, match="the signature is wrong") as told:
        await published(client(server, authority, path, ServiceClock()), server.topic("triggers"))
    assert path in str(told.value)
    assert len(server.asked) == 2


async def test_a_service_with_another_authoritys_certificate_gets_no_token(server: FakePubSub, key_file: str) -> None:
    with pytest.raises(Denied, match="certificate is not trusted"):
        await published(client(server, trustme.CA(), key_file, ServiceClock()), server.topic("triggers"))
    assert server.asked == []
