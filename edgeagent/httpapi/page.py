"""`GET /`: the status page, some files that a browser runs. They hold no data, so that they need no token."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from edgeagent.httpapi.plan import Plan
from edgeagent.httpapi.problem import Answer
from edgeagent.httpapi.request import Request


class _File(msgspec.Struct, frozen=True):
    name: str
    media_type: bytes


_DIRECTORY: Final = Path(__file__).parent / "page"
_SCRIPT: Final = b"text/javascript; charset=utf-8"
_FILES: Final = {
    "/": _File("index.html", b"text/html; charset=utf-8"),
    "/page.css": _File("page.css", b"text/css; charset=utf-8"),
    "/icon.svg": _File("icon.svg", b"image/svg+xml"),
    **{
        f"/{name}.js": _File(f"{name}.js", _SCRIPT)
        for name in (
            "page",
            "api",
            "charts",
            "devices",
            "dom",
            "facts",
            "letters",
            "report",
            "triggers",
            "uploads",
            "where",
        )
    },
}
PAGE_PATHS: Final = frozenset(_FILES)
# Nothing is run, shown or asked for that is not this server's, and no other page may show this one.
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
)
# The largest of the files, about, while it is sent.
_WORK_BYTES: Final = 64 << 10


def page_plans() -> dict[str, dict[str, Plan]]:
    """The plans of the page's files by path."""
    return {path: {"GET": Plan(_answer, work_bytes=_WORK_BYTES)} for path in _FILES}


async def _answer(request: Request, _body: bytes) -> Answer:
    """A file, read when it is asked for: the agent does not keep it in memory."""
    file = _FILES[request.path]
    return Answer(200, (_DIRECTORY / file.name).read_bytes(), file.media_type, _HEADERS)
