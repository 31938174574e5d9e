"""What a store's answer by HTTP means for an upload. Pure."""

from __future__ import annotations

from typing import Final

from edgeagent.errors import StoreError, StoreFailed, StoreRefused

_TOO_LARGE: Final = 413
_FULL: Final = 507
_NOT_IMPLEMENTED: Final = 501
_UNAUTHENTICATED: Final = frozenset({401, 403, 407})
# "Took too long", "too early", "too many requests": the same request may be taken later.
_AGAIN: Final = frozenset({408, 425, 429})


def is_success(status: int) -> bool:
    """Whether the store did what was asked."""
    return 200 <= status < 300  # noqa: PLR2004  the classes of RFC 9110


def failure_of(store: str, status: int, text: str, retry_after_s: float) -> StoreError | None:
    """The error that an answer stands for; None for a success.

    Nothing that a store says about itself is for good, because whoever runs it can change it: only a size that it does
    not take is, since smaller artifacts pass. `text`: the store's own words, "" for none.
    """
    if is_success(status):
        return None
    words = f": {text}" if text else ""
    if status == _TOO_LARGE:
        return StoreRefused(store, f"it takes no object of this size (413){words}; raise its limit, then replay")
    if status == _FULL:
        return StoreFailed(store, f"it is full (507){words}", retry_after_s=retry_after_s)
    if status in _AGAIN or (status >= 500 and status != _NOT_IMPLEMENTED):  # noqa: PLR2004
        return StoreFailed(store, f"it answered {status}{words}", retry_after_s=retry_after_s)
    reason = f"it answered {status}{words}"
    if status in _UNAUTHENTICATED:
        reason = f"it does not let us in ({status}){words}; check the credentials and what they may do there"
    elif status < 400:  # noqa: PLR2004
        reason = f"it redirects to another address ({status}), which is not followed; write that address in store"
    return StoreFailed(store, reason, needs_somebody=True, retry_after_s=retry_after_s)
