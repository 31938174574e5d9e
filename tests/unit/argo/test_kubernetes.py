from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

from edgeagent.argo.kubernetes import FIELD_MANAGER, KubernetesClient, KubernetesSettings, in_pod
from edgeagent.errors import ConfigError, EngineRefused, EngineUnavailable
from tests.fakes.argo_server import Failure, FakeArgo, drop_before, hang, not_json, refused
from tests.waiting import DEADLINE_S, until, until_answer

pytestmark = pytest.mark.slow  # servers or processes of its own


NAME = "pipeline-status-1"
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def configmap(result: str = "success") -> bytes:
    metadata = {"name": NAME, "namespace": "plant"}
    return msgspec.json.encode(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"result": result}}
    )


def account(directory: Path, token: str = "from-kubelet", authority: str = "") -> Path:  # noqa: S107  a test's token
    (directory / "token").write_text(token)
    (directory / "ca.crt").write_text(authority)
    return directory


@pytest.fixture
async def api() -> AsyncIterator[FakeArgo]:
    async with FakeArgo() as server:
        yield server


@pytest.fixture
async def client(api: FakeArgo) -> AsyncIterator[KubernetesClient]:
    async with KubernetesClient(KubernetesSettings(api.url)) as connected:
        yield connected


async def test_a_configmap_is_applied_and_applied_again(api: FakeArgo, client: KubernetesClient) -> None:
    await client.apply_configmap("plant", NAME, configmap())
    await client.apply_configmap("plant", NAME, configmap("failure"))
    assert api.configmaps["plant", NAME]["data"] == {"result": "failure"}
    request = api.requests[-1]
    assert (request.method, request.path) == ("PATCH", f"/api/v1/namespaces/plant/configmaps/{NAME}")
    assert request.query == {"fieldManager": FIELD_MANAGER, "force": "true"}
    assert request.headers["content-type"] == "application/apply-patch+yaml"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(("status", "message"), [(403, "cannot patch"), (404, "not found"), (422, "invalid")])
async def test_a_refusal_has_the_status_and_the_words_of_kubernetes(
    api: FakeArgo, client: KubernetesClient, status: int, message: str
) -> None:
    api.fail_next(refused(status, status, message))
    with pytest.raises(EngineRefused, match=message) as caught:
        await client.apply_configmap("plant", NAME, configmap())
    assert caught.value.status == status
    assert api.configmaps == {}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (drop_before(), "127.0.0.1"),
        (refused(503, 503, "apiserver is shutting down"), "shutting down"),
        (not_json(404, "<html>a proxy's page</html>"), "a proxy's page"),
    ],
)
async def test_what_may_pass_is_unavailable(
    api: FakeArgo, client: KubernetesClient, failure: Failure, reason: str
) -> None:
    api.fail_next(failure)
    with pytest.raises(EngineUnavailable, match=reason):
        await client.apply_configmap("plant", NAME, configmap())
    await client.apply_configmap("plant", NAME, configmap())
    assert ("plant", NAME) in api.configmaps


async def test_an_api_server_that_does_not_answer_is_unavailable(api: FakeArgo) -> None:
    api.fail_next(hang())
    async with KubernetesClient(KubernetesSettings(api.url, timeout_s=0.2)) as client:
        with pytest.raises(EngineUnavailable, match=r"no answer within 0\.2 s|no connection could be made in time"):
            await client.apply_configmap("plant", NAME, configmap())


async def test_a_busy_api_server_says_how_long_to_wait(api: FakeArgo, client: KubernetesClient) -> None:
    api.fail_next(not_json(429, "too many requests, please try again later", retry_after="7"))
    with pytest.raises(EngineUnavailable) as caught:
        await client.apply_configmap("plant", NAME, configmap())
    assert caught.value.retry_after_s == 7


async def test_an_api_server_that_is_not_there_is_unavailable(api: FakeArgo, client: KubernetesClient) -> None:
    await api.stop()
    with pytest.raises(EngineUnavailable, match="refused"):
        await client.apply_configmap("plant", NAME, configmap())


@pytest.mark.parametrize(("namespace", "name"), [("..", NAME), ("plant", ".."), ("", NAME)])
async def test_a_name_that_would_lead_elsewhere_is_never_asked_for(
    api: FakeArgo, client: KubernetesClient, namespace: str, name: str
) -> None:
    with pytest.raises(EngineRefused, match="is not a valid name"):
        await client.apply_configmap(namespace, name, configmap())
    assert api.requests == []


async def test_no_more_requests_run_at_a_time_than_are_allowed(api: FakeArgo) -> None:
    async with KubernetesClient(KubernetesSettings(api.url, timeout_s=60.0, max_connections=2)) as client:
        api.fail_next(hang(), hang())
        tasks = [asyncio.create_task(client.apply_configmap("plant", NAME, configmap())) for _ in range(3)]
        await until(lambda: len(api.requests) == 2)
        tasks[0].cancel()
        async with asyncio.timeout(DEADLINE_S):
            await tasks[2]  # it goes when one of the two that hang has left
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_in_a_pod_the_service_account_is_used_and_its_new_token_too(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    account(tmp_path, "first", authority.cert_pem.bytes().decode())
    async with FakeArgo(tls=context, token="first") as api:  # noqa: S106  a token of this test
        environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
        settings = in_pod(environ, tmp_path)
        async with KubernetesClient(settings) as client:
            await client.apply_configmap("plant", NAME, configmap())
            api.token = "second"  # noqa: S105
            with pytest.raises(EngineRefused) as caught:
                await client.apply_configmap("plant", NAME, configmap())
            assert caught.value.status == 401
            (tmp_path / "token").write_text("second")

            async def used() -> str:
                await asyncio.gather(client.apply_configmap("plant", NAME, configmap()), return_exceptions=True)
                return api.requests[-1].headers["authorization"]

            await until_answer(used, lambda header: header == "Bearer second", "the new token to be used")
            await client.apply_configmap("plant", NAME, configmap("error"))
    assert api.configmaps["plant", NAME]["data"] == {"result": "error"}


async def test_an_api_server_whose_certificate_is_anothers_is_not_told_the_token(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    account(tmp_path, authority=trustme.CA().cert_pem.bytes().decode())
    async with FakeArgo(tls=context) as api:
        environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
        async with KubernetesClient(in_pod(environ, tmp_path)) as client:
            with pytest.raises(EngineUnavailable, match="certificate is not trusted"):
                await client.apply_configmap("plant", NAME, configmap())
        assert api.requests == []


def test_an_address_of_ipv6_is_put_in_brackets(tmp_path: Path) -> None:
    settings = in_pod({**POD, "KUBERNETES_SERVICE_HOST": "fd00::1"}, account(tmp_path))
    assert settings.url == "https://[fd00::1]:443"
    KubernetesClient(settings)


@pytest.mark.parametrize(
    ("change", "gone", "reason"),
    [
        ({"KUBERNETES_SERVICE_HOST": ""}, "", "this is not a pod"),
        ({"KUBERNETES_SERVICE_PORT": "tcp://10.0.0.1:443"}, "", "which is not a port"),
        ({"KUBERNETES_SERVICE_PORT": "65536"}, "", "which is not a port"),
        ({}, "token", "token is missing"),
        ({}, "ca.crt", "ca.crt is missing"),
    ],
)
def test_outside_of_a_pod_it_is_an_error_of_the_configuration_that_says_why(
    tmp_path: Path, change: dict[str, Any], gone: str, reason: str
) -> None:
    directory = account(tmp_path)
    if gone:
        (directory / gone).unlink()
    with pytest.raises(ConfigError, match=reason) as caught:
        in_pod({**POD, **change}, directory)
    assert caught.value.exit_code == 78
    assert caught.value.problems[0].path == "status.configmap"
