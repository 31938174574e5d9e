"""Makes the store that a configuration asks for, and its uploader. A store's code is imported when it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edgeagent.artifacts.bandwidth import BandwidthSchedule
from edgeagent.artifacts.kept import KeptUploads
from edgeagent.artifacts.places import origin
from edgeagent.artifacts.store import ArtifactStore
from edgeagent.artifacts.uploader import Uploader
from edgeagent.config.tables import ArtifactsTable, Connection
from edgeagent.ports.threads import JobThread

# In the state directory.
UPLOADS_FILE: Final = "uploads.db"


def make_store(table: ArtifactsTable, thread: JobThread) -> ArtifactStore:
    """The store of a table without problems. Nothing is connected or looked at yet.

    Args:
        table: `[artifacts]`.
        thread: for a store that is a directory; a volume that does not answer holds up its other users.
    """
    scheme = urlsplit(table.store).scheme
    if scheme == "file":
        from edgeagent.artifacts.directory import DirectoryStore  # noqa: PLC0415  as the module says

        return DirectoryStore(table, thread)
    if scheme == "az":
        from edgeagent.artifacts.azure import AzureStore  # noqa: PLC0415  a library of 15 MB

        return AzureStore(table)
    from edgeagent.artifacts.http import StoreClient  # noqa: PLC0415  httpx

    tls = Connection(ca_file=table.ca_file, cert_file=table.cert_file, key_file=table.key_file)
    if scheme in {"s3", "gs"}:
        from edgeagent.artifacts.s3 import S3Store  # noqa: PLC0415

        return S3Store(table, StoreClient(table.store, tls))
    from edgeagent.artifacts.webdav import HttpStore, PresignedStore  # noqa: PLC0415

    client = StoreClient(origin(table.store), tls)
    return PresignedStore(table, client) if table.presign_url else HttpStore(table, client)


def make_uploader(
    table: ArtifactsTable, directory: Path, database: JobThread, thread: JobThread, done: Callable[[str], None]
) -> Uploader:
    """The uploader of a table without problems; must be called in the running loop.

    Args:
        table: `[artifacts]`.
        directory: the state directory.
        database: a thread for what is kept of uploads, and for nothing else.
        thread: reads artifacts' files, and writes them where the store is a directory.
        done: called when an upload ended, with its name.
    """
    kept = KeptUploads(directory / UPLOADS_FILE, database, f"{table.store} {table.endpoint}")
    return Uploader(make_store(table, thread), kept, BandwidthSchedule(table), thread, done=done)
