"""The one operation needed of the Kubernetes API itself: applying ConfigMaps, with the pod's service account."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import quote, urlencode

import httpx

from edgeagent import __version__
from edgeagent.argo.access import ArgoAccess
from edgeagent.argo.connections import Connections, read, unavailable
from edgeagent.argo.failures import failure
from edgeagent.errors import ConfigError, EngineRefused, Problem

# The owner of the applied fields, as Kubernetes records it: the same for every dispatcher, so that one can continue
# where another has stopped.
FIELD_MANAGER = "edgeagent-dispatch"
# Where Kubernetes mounts the service account of a pod.
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_KEY = "status.configmap"
_MAX_ANSWER_BYTES = 8 * 1024 * 1024
_MAX_PORT = 65535
# The share of a request's time for the TCP connection and for the TLS handshake. Each has its own time-out, because
# httpcore leaks the connection if it is cancelled in the handshake, as by a time-out for the whole request.
_CONNECT_SHARE = 0.4
_APPLY = urlencode({"fieldManager": FIELD_MANAGER, "force": "true"})


class KubernetesSettings(NamedTuple):
    """The API server's address and credentials.

    Attributes:
        url: scheme, host and port.
        token_file: see `ArgoAccess`.
        ca_file: see `ArgoAccess`.
        timeout_s: how long a request may take once it has a connection.
        max_connections: how many requests run at a time.
    """

    url: str
    token_file: str = ""
    ca_file: str = ""
    timeout_s: float = 10.0
    max_connections: int = 8


def in_pod(environ: Mapping[str, str] = os.environ, account: Path = SERVICE_ACCOUNT) -> KubernetesSettings:
    """The settings for reaching the API server from a pod, from what Kubernetes provides in every pod.

    Args:
        environ: the environment.
        account: the directory with `token` and `ca.crt`.

    Raises:
        ConfigError: this is not a pod, or one without a service account's token.
    """
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host:
        raise _unusable("KUBERNETES_SERVICE_HOST is not set: this is not a pod; remove the key, or run in the cluster")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= _MAX_PORT):
        raise _unusable(f"KUBERNETES_SERVICE_PORT is {port!r}, which is not a port")
    token, authority = account / "token", account / "ca.crt"
    for file in (token, authority):
        if not file.is_file():
            raise _unusable(f"{file} is missing: mount the service account's token into the pod")
    address = f"[{host}]" if ":" in host else host
    return KubernetesSettings(f"https://{address}:{port}", str(token), str(authority))


def _unusable(reason: str) -> ConfigError:
    return ConfigError("the dispatcher", [Problem(_KEY, f"true cannot work here: {reason}")])


class KubernetesClient:
    """A client of the API server: `async with KubernetesClient(settings) as client`. It retries nothing."""

    def __init__(self, settings: KubernetesSettings) -> None:
        """Create a client; nothing is read or connected yet."""
        self._base = settings.url
        self._headers = [
            (b"Host", httpx.URL(settings.url).netloc),
            (b"User-Agent", f"{FIELD_MANAGER}/{__version__}".encode()),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"identity"),  # decompression could make a small body arbitrarily large
            (b"Content-Type", b"application/apply-patch+yaml"),  # JSON is YAML
        ]
        self._timeout_s = settings.timeout_s
        self._access = ArgoAccess(settings.url, token_file=settings.token_file, ca_file=settings.ca_file)
        self._connections = Connections(settings.max_connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._connections.aclose()

    async def apply_configmap(self, namespace: str, name: str, configmap: bytes, *, dry_run: bool = False) -> None:
        """Create a ConfigMap, or update its fields to these (server-side apply). Repeating it changes nothing.

        Args:
            namespace: the ConfigMap's namespace.
            name: the ConfigMap's name.
            configmap: the whole object, as JSON.
            dry_run: store nothing.

        Raises:
            EngineUnavailable: the API server cannot be reached, or cannot answer now (408, 429, 5xx); the ConfigMap may
                have been applied.
            EngineRefused: any other error; it is not applied.
        """
        url = self._url(namespace, name)
        context = self._access.context()
        request = self._request(f"{url}?{_APPLY}&dryRun=All" if dry_run else f"{url}?{_APPLY}", configmap)
        try:
            async with self._connections.borrow(context) as connection, asyncio.timeout(self._timeout_s):
                answer = await read(url, await connection.handle_async_request(request), _MAX_ANSWER_BYTES)
        except (httpx.HTTPError, OSError) as exc:
            raise unavailable(url, exc, self._timeout_s) from exc
        if not httpx.codes.is_success(answer.status):
            retry_after = answer.headers.get("retry-after", "")
            raise failure(url, answer.status, answer.body, retry_after=retry_after)

    def _url(self, namespace: str, name: str) -> str:
        for segment in (namespace, name):
            if segment in {"", ".", ".."}:  # these would change the path, however they are encoded
                raise EngineRefused(self._base, httpx.codes.BAD_REQUEST, f"{segment!r} is not a valid name")
        return f"{self._base}/api/v1/namespaces/{quote(namespace, safe='')}/configmaps/{quote(name, safe='')}"

    def _request(self, url: str, body: bytes) -> httpx.Request:
        headers = [*self._headers, (b"Content-Length", b"%d" % len(body))]
        authorization = self._access.authorization()
        if authorization:
            headers.append((b"Authorization", authorization))
        return httpx.Request(
            "PATCH",
            url,
            headers=headers,
            stream=httpx.ByteStream(body),
            extensions={"timeout": {"connect": _CONNECT_SHARE * self._timeout_s, "read": None}},
        )
