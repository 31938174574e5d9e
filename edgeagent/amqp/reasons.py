"""Errors for the owner: the broker's reply codes as why a connection failed or ended. Pure."""

from __future__ import annotations

from pamqp import commands

from edgeagent.common.foreign import line
from edgeagent.errors import Denied, NameInUse, Unavailable, UplinkError

ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED, PRECONDITION_FAILED = 403, 404, 405, 406
NOT_ALLOWED = 530
CLOSED_BY_US = 200

# None of these goes away by itself: a right, a name, or something that exists with other arguments must be changed.
_DENYING = frozenset({ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, NOT_ALLOWED, 402, 540})


def closed(address: str, close: commands.Connection.Close | commands.Channel.Close, doing: str = "") -> UplinkError:
    """Why the broker closed a connection or a channel. `doing`: what it answered so, "" if that is not known."""
    code, said = close.reply_code or 0, close.reply_text
    text = f"{doing + ': ' if doing else ''}the broker says {line(said) or 'nothing'} ({code})"
    if code == RESOURCE_LOCKED or (code == ACCESS_REFUSED and "exclusive" in said):
        text += "; another connection by our name is open"
        return NameInUse(address, text, "another agent has the same id, so give each its own (agent.id)")
    if code == ACCESS_REFUSED:
        is_login = isinstance(close, commands.Connection.Close)
        text += "; check username and password_file" if is_login else "; check this user's rights (docs/brokers.md)"
    if code == NOT_ALLOWED and "vhost" in said:
        text += "; the virtual host is the path of the url, and this user needs rights in it (docs/brokers.md)"
    if code == PRECONDITION_FAILED and doing:
        text += "; it exists with other arguments: delete it, and it is made anew"
    return Denied(address, text) if code in _DENYING else Unavailable(address, text)
