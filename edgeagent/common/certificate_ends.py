"""Until when the certificates of a connection are valid; `common.certificates` reads it from them."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Ends(msgspec.Struct, frozen=True):
    """Until when certificates are valid: our own, and the first to end of the authorities; None: none, or not known."""

    own: datetime | None = None
    authority: datetime | None = None
