"""Where objects are: their addresses for us and for readers. Pure."""

from __future__ import annotations

from urllib.parse import quote, urlsplit


def joined(base: str, name: str) -> str:
    """The URL of an object below a base URL. `name`: the parts of the name, with `/` between them."""
    return f"{base.rstrip('/')}/{quote(name, safe='/')}"


def origin(url: str) -> str:
    """For logs and people: scheme, host and port of a URL, without what may hold a secret (a presigned one)."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def parents(name: str) -> list[str]:
    """The collections that an object's name lies in, from the outermost: `a/b/c` is in `a` and `a/b`."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
