from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.errors import EngineRefused, EngineUnavailable
from tests.fakes.argo_examples import answering, workflow
from tests.fakes.argo_server import FakeArgo
from tests.fakes.listener import Listener
from tests.waiting import DEADLINE_S, until_answer


async def test_the_check_tells_the_version(argo: FakeArgo, client: ArgoClient) -> None:
    assert (await client.check()).startswith("v")
    assert argo.requests[-1].path == "/api/v1/version"


async def test_a_rotated_token_is_used_and_a_wrong_one_is_a_refusal(argo: FakeArgo, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("Bearer first\n")
    argo.token = "first"  # noqa: S105  a token of this test
    async with ArgoClient(ArgoSettings(argo.url, token_file=str(file), timeout_s=DEADLINE_S)) as client:
        await client.create("plant", workflow("one"))
        argo.token = "second"  # noqa: S105
        with pytest.raises(EngineRefused) as caught:
            await client.create("plant", workflow("two"))
        assert caught.value.status == 401
        file.write_text("second!")
        file.write_text("second")
        # The file is looked at once a second.
        await until_answer(lambda: refusal_of(client), lambda status: status != 401, "the new token to be used")
        await client.create("plant", workflow("two"))


async def refusal_of(client: ArgoClient) -> int:
    """The status that a request is refused with, 0 when it is not."""
    try:
        await client.get("plant", "overheat")
    except EngineRefused as exc:
        return exc.status
    return 0


class Certificates:
    """A CA, a server's certificate, and a client's."""

    def __init__(self, directory: Path) -> None:
        ca = trustme.CA()
        self.ca_file = str(directory / "ca.pem")
        ca.cert_pem.write_to_path(self.ca_file)
        self.client_file = str(directory / "client.pem")
        ca.issue_cert("dispatcher").private_key_and_cert_chain_pem.write_to_path(self.client_file)
        self._ca = ca

    def server(self, host: str = "127.0.0.1", *, demands_client: bool = False) -> ssl.SSLContext:
        """The context of a server with this name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(host).configure_cert(context)
        if demands_client:
            self._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_a_server_is_trusted_by_its_authority_alone(certificates: Certificates) -> None:
    async with FakeArgo(tls=certificates.server()) as argo:
        async with ArgoClient(ArgoSettings(argo.url, ca_file=certificates.ca_file, timeout_s=DEADLINE_S)) as client:
            assert await client.check()
        async with ArgoClient(ArgoSettings(argo.url, timeout_s=DEADLINE_S)) as client:
            with pytest.raises(EngineUnavailable, match=r"its certificate is not trusted \(.*\): check ca_file"):
                await client.check()
        async with ArgoClient(ArgoSettings(argo.url, insecure=True, timeout_s=DEADLINE_S)) as client:
            assert await client.check()


async def test_the_host_name_is_checked(certificates: Certificates) -> None:
    async with (
        FakeArgo(tls=certificates.server("argo.example")) as argo,
        ArgoClient(ArgoSettings(argo.url, ca_file=certificates.ca_file, timeout_s=DEADLINE_S)) as client,
    ):
        with pytest.raises(EngineUnavailable, match=r"not valid for '127\.0\.0\.1'"):
            await client.check()


async def test_a_client_certificate_is_shown_where_one_is_demanded(certificates: Certificates) -> None:
    async with FakeArgo(tls=certificates.server(demands_client=True)) as argo:
        settings = ArgoSettings(
            argo.url, ca_file=certificates.ca_file, cert_file=certificates.client_file, timeout_s=DEADLINE_S
        )
        async with ArgoClient(settings) as client:
            assert await client.check()
        async with ArgoClient(settings._replace(cert_file="")) as client:
            with pytest.raises(EngineUnavailable) as caught:
                await client.check()
            assert caught.value.reason


@asynccontextmanager
async def silent() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A port that takes a connection and says nothing: its https URL, and what is set when the connection ended."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    async with Listener(serve) as listener:
        yield f"https://127.0.0.1:{listener.port}", ended


async def test_tls_to_a_port_that_speaks_none_is_told(certificates: Certificates) -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        settings = ArgoSettings(url.replace("http:", "https:"), ca_file=certificates.ca_file, timeout_s=DEADLINE_S)
        async with ArgoClient(settings) as client:
            with pytest.raises(EngineUnavailable, match=r"TLS failed \(.*\)"):
                await client.check()


async def test_a_server_that_never_answers_the_handshake_is_given_up_and_its_connection_closed(
    certificates: Certificates,
) -> None:
    async with silent() as (url, ended):
        settings = ArgoSettings(url, ca_file=certificates.ca_file, timeout_s=0.5)
        async with ArgoClient(settings) as client:
            with pytest.raises(EngineUnavailable, match="no connection could be made in time"):
                await client.check()
            async with asyncio.timeout(DEADLINE_S):
                await ended.wait()
