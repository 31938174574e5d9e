"""A store by HTTP: each object is one PUT, of which a server such as WebDAV makes a file.

The collections that an object lies in are made before its first PUT: a server that misses them says so only after it
has read the whole body. A server that is no WebDAV refuses to make them, which is no matter: it needs none.

With `presign_url` an endpoint is asked for the URL of each upload, and our credentials are for that endpoint alone.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from edgeagent.artifacts.answers import failure_of, is_success
from edgeagent.artifacts.http import StoreAnswer, StoreClient, content_type
from edgeagent.artifacts.places import joined, origin, parents
from edgeagent.artifacts.sending import Sending
from edgeagent.common.foreign import shown
from edgeagent.common.hosts import Address, address_of, plain, special
from edgeagent.config.secretfile import secret_in, why_unusable
from edgeagent.config.tables import ArtifactsTable
from edgeagent.errors import StoreFailed, StoreRefused
from edgeagent.events.artifact import Artifact
from edgeagent.links.lookup import HostLookup

_MAX_COLLECTIONS = 1024
_MAX_URL_CHARS = 8192
_MAX_HEADERS = 32
_MAX_ADDRESSES = 2  # of a host, such as one of each family
_OK: Final = 200
# What an answer to MKCOL says of the whole store: the body need not be sent to hear it again.
_NOT_ABOUT_COLLECTIONS: Final = frozenset({401, 429, 502, 503, 504, 507})
_GONE: Final = frozenset({404, 410})
# MKCOL answered so (RFC 4918) means that the collection around it is missing, and what servers say to a PUT then.
_NOTHING_AROUND: Final = 409
_WITHOUT_COLLECTION: Final = frozenset({404, 409, 500})
_LOOPBACK: Final = ip_address("127.0.0.1")
# What a presigned upload's headers may not change: how the body is framed, and where it goes.
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "trailer"})
_HeaderName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")]
_HeaderValue = Annotated[str, msgspec.Meta(pattern=r"\A[\x20-\x7e]{0,4096}\Z")]


class _Presigned(msgspec.Struct, frozen=True):
    """What the endpoint answers. `headers`: to be sent with the PUT."""

    url: Annotated[str, msgspec.Meta(max_length=_MAX_URL_CHARS, pattern=r"\Ahttps?://[\x21-\x7e]+\Z")]
    headers: Annotated[dict[_HeaderName, _HeaderValue], msgspec.Meta(max_length=_MAX_HEADERS)] = {}


class HttpStore:
    """A server that takes PUT. See `ArtifactStore`."""

    def __init__(self, table: ArtifactsTable, client: StoreClient) -> None:
        """`table`: without problems."""
        self.shown = table.store
        self._table = table
        self._client = client
        self._base = table.store
        self._public = table.public_url or table.store
        self._made: set[str] = set()

    def url(self, name: str) -> str:
        """See `ArtifactStore`."""
        return joined(self._public, name)

    async def begin(self, memory: bytes) -> bytes:
        """Nothing tells one server from another."""
        return memory

    async def put(self, sending: Sending) -> None:
        """See `ArtifactStore`."""
        headers, url = self._credentials(), joined(self._base, sending.name)
        is_missing = await self._make_collections(sending.name, headers)
        answer = await self._put(url, {**headers, **_described(sending.artifact)}, sending)
        if not is_success(answer.status):
            self._made.clear()  # somebody may have removed them; servers say that in many ways
        is_missing = is_missing and answer.status in _WITHOUT_COLLECTION
        self._check(answer, "the directory that store names is not there: make it" if is_missing else "")
        await self._verify(url, headers, sending.artifact.size)

    async def abandon(self, name: str, resume: bytes) -> None:
        """A PUT that was broken off leaves nothing."""

    async def read(self, name: str, at_most: int) -> bytes:
        """See `ArtifactStore`."""
        answer = await self._client.request("GET", joined(self._base, name), self._credentials())
        self._check(answer)
        if len(answer.body) > at_most:
            raise StoreFailed(self.shown, f"the object has more than {at_most} bytes")
        return answer.body

    async def remove(self, name: str) -> None:
        """See `ArtifactStore`."""
        answer = await self._client.request("DELETE", joined(self._base, name), self._credentials())
        if answer.status not in _GONE:
            self._check(answer)

    async def room(self) -> int | None:
        """Servers do not say it."""
        return None

    async def aclose(self) -> None:
        """See `ArtifactStore`."""
        await self._client.aclose()

    async def _put(self, url: str, headers: Mapping[str, str], sending: Sending) -> StoreAnswer:
        size = sending.artifact.size
        return await self._client.request("PUT", url, headers, sending.chunks(size), size)

    async def _verify(self, url: str, headers: Mapping[str, str], size: int) -> None:
        """Compare the length, if the server tells it. No answer changes nothing: the PUT was answered."""
        try:
            answer = await self._client.request("HEAD", url, headers)
        except StoreFailed:
            return
        length = answer.headers.get("content-length", "")
        if answer.status == _OK and length.isdecimal() and int(length) != size:
            raise StoreFailed(self.shown, f"it took the object, but holds {length} bytes of {size}")

    async def _make_collections(self, name: str, headers: Mapping[str, str]) -> bool:
        """Make those that are not known to be there; returns whether the one around the first of them is missing."""
        first = 0
        missing = [path for path in parents(name) if path not in self._made]
        for path in missing:
            answer = await self._client.request("MKCOL", f"{joined(self._base, path)}/", headers)
            if answer.status in _NOT_ABOUT_COLLECTIONS:
                self._check(answer)
            first = first or answer.status
        if len(self._made) + len(missing) > _MAX_COLLECTIONS:
            self._made.clear()
        self._made.update(missing)
        return first == _NOTHING_AROUND

    def _credentials(self) -> dict[str, str]:
        table = self._table
        if table.token_file:
            return {"authorization": f"Bearer {self._secret('token_file', table.token_file)}"}
        if table.password_file:
            pair = f"{table.username}:{self._secret('password_file', table.password_file)}"
            return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        return {}

    def _secret(self, key: str, file: str) -> str:
        try:
            secret = secret_in(file).decode()
        except (OSError, ValueError) as exc:
            reason = f"artifacts.{key} {file} cannot be read ({why_unusable(exc)})"
            raise StoreFailed(self.shown, reason, needs_somebody=True) from exc
        if not secret.isprintable():
            raise StoreFailed(self.shown, f"artifacts.{key} {file} is more than one line", needs_somebody=True)
        return secret

    def _check(self, answer: StoreAnswer, words: str = "") -> None:
        error = failure_of(self.shown, answer.status, answer.words or words, answer.retry_after_s)
        if error is not None:
            raise error


class PresignedStore(HttpStore):
    """A store into which uploads go by URLs that an endpoint makes, one for each. See `ArtifactStore`."""

    def __init__(self, table: ArtifactsTable, client: StoreClient) -> None:
        """`table`: without problems, and with `presign_url`."""
        super().__init__(table, client)
        self._named = {urlsplit(table.presign_url).hostname, urlsplit(table.store).hostname}

    async def put(self, sending: Sending) -> None:
        """See `ArtifactStore`."""
        signed = await self._presigned(sending.name, sending.artifact)
        headers = {name.lower(): value for name, value in signed.headers.items()}
        described = {} if headers else _described(sending.artifact)
        at, size = await self._addresses(signed.url), sending.artifact.size
        sent = {**described, **headers}
        self._check(await self._client.request("PUT", signed.url, sent, sending.chunks(size), size, at))

    async def remove(self, name: str) -> None:
        """It cannot be asked for.

        Raises:
            StoreFailed: always.
        """
        raise StoreFailed(self.shown, f"objects cannot be removed by presign_url; {name} stays there")

    async def read(self, name: str, at_most: int) -> bytes:
        """See `ArtifactStore`; as any reader, without credentials."""
        answer = await self._client.request("GET", self.url(name), {})
        self._check(answer)
        if len(answer.body) > at_most:
            raise StoreFailed(self.shown, f"the object has more than {at_most} bytes")
        return answer.body

    async def _presigned(self, name: str, artifact: Artifact) -> _Presigned:
        asked = {
            "name": name,
            "size": artifact.size,
            "sha256": artifact.sha256,
            "contentType": artifact.content_type,
        }
        headers = {**self._credentials(), "content-type": "application/json", "accept": "application/json"}
        answer = await self._client.request("POST", self._table.presign_url, headers, msgspec.json.encode(asked))
        if answer.status == 413:  # noqa: PLR2004
            raise StoreRefused(self.shown, "presign_url takes no object of this size (413)")
        if not is_success(answer.status):
            self._check(answer)
        try:
            signed = msgspec.json.decode(answer.body, type=_Presigned)
        except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
            reason = f"presign_url did not answer with a url and headers ({exc})"
            raise StoreFailed(self.shown, reason, needs_somebody=True) from exc
        if problem := self._problem(signed):
            raise StoreFailed(self.shown, f"presign_url answered with {problem}", needs_somebody=True)
        return signed

    async def _addresses(self, url: str) -> Sequence[Address]:
        """Where the upload may go: of a host that the configuration names, wherever that is, else none that is special.

        Raises:
            StoreFailed: nowhere, or not now.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        if host in self._named:
            return ()
        try:
            found = await HostLookup(host, parts.port or 0).addresses()
        except OSError as exc:
            reason = f"the host in the answer of presign_url cannot be resolved ({exc.strerror or exc})"
            raise StoreFailed(self.shown, reason) from exc
        allowed = [address for address in found if not special(address)]
        if not allowed:
            what = next((special(address) for address in found), "no address")
            raise StoreFailed(self.shown, f"presign_url answered with {shown(host)}, {what}", needs_somebody=True)
        return allowed[:_MAX_ADDRESSES]

    def _problem(self, signed: _Presigned) -> str:
        """Why an upload may not go there; what is shown of it holds no signature."""
        try:
            parts = urlsplit(signed.url)
            host = parts.hostname or ""
            usable = bool(host) and parts.port != 0 and parts.username is None
        except ValueError:
            usable = False
        if not usable:
            return "no address that can be used"
        if parts.scheme == "http" and self._table.presign_url.startswith("https:"):
            return f"{origin(signed.url)}, which has no TLS"
        if ours := {name.lower() for name in signed.headers} & _OURS:
            return f"the header {min(ours)}, which is not its to set"
        address = address_of(host)
        if host in self._named or (address is None and host != "localhost"):
            return ""  # of a name it is looked at its addresses
        what = special(plain(address)) if address is not None else special(_LOOPBACK)
        return what and f"{host}, {what}: write that host in store or presign_url if it is meant"


def _described(artifact: Artifact) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    return {
        "content-type": content_type(artifact),
        "content-digest": f"sha-256=:{digest}:",  # RFC 9530: a server that knows it refuses what was changed on the way
    }
