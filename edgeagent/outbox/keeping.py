"""Whether a store keeps what is changed in it: on a disk that can only be read, `rescue` has the changes in memory."""

from __future__ import annotations

from edgeagent.outbox.store import Store


def must_keep(store: Store) -> None:
    """Check that a change to a store will survive the process.

    Raises:
        DiskReadOnly: it would not.
    """
    if store.read_only is not None:
        raise store.read_only
