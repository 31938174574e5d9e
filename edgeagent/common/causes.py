"""Where a chain of exceptions began."""

from __future__ import annotations


def first_cause(exc: BaseException) -> BaseException:
    """The exception at the root of a chain; of a group, the first one stands for several attempts to connect."""
    while True:
        earlier = exc.exceptions[0] if isinstance(exc, BaseExceptionGroup) else exc.__cause__ or exc.__context__
        if earlier is None:
            return exc
        exc = earlier
