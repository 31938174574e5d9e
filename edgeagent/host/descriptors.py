"""How many files and sockets this process may have open."""

from __future__ import annotations

import contextlib
import resource


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one.

    The soft one is 1024 as a rule, for the sake of programs that use select(); a thousand devices, with those that are
    being turned away, are more, and then the disk could open no file either. What we start ourselves uses no select().
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # where the hard one is no number that can be set
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
