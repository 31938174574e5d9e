"""What cannot be right in `[[relay.webhook]]`, and in the dispatcher's `[[webhook]]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeagent.common.foreign import shown
from edgeagent.common.hosts import AllowedHosts
from edgeagent.config.secretfile import secret_in
from edgeagent.config.tables import DispatcherWebhook, RelayWebhook, WebhookTable
from edgeagent.errors import Problem
from edgeagent.wire.webhook import (
    REPORT_NAMES,
    REPORT_STATES,
    STATUS_NAMES,
    STATUS_STATES,
    parse_secrets,
    receiver,
)
from edgeagent.wire.webhook_body import BodyTemplate

# Each has connections and a share of what is kept.
MAX_WEBHOOKS = 16


def relay_webhook_problems(tables: Sequence[RelayWebhook]) -> Iterator[Problem]:
    """What is wrong in `[[relay.webhook]]`."""
    yield from _problems("relay.webhook", tables, REPORT_NAMES, REPORT_STATES)


def dispatcher_webhook_problems(tables: Sequence[DispatcherWebhook]) -> Iterator[Problem]:
    """What is wrong in the dispatcher's `[[webhook]]`."""
    yield from _problems("webhook", tables, STATUS_NAMES, STATUS_STATES)
    for index, table in enumerate(tables):
        if table.give_up_after < 1:
            yield Problem(f"webhook[{index}].give_up_after", "must be at least 1s")


def _problems(
    path: str, tables: Sequence[WebhookTable], names: Sequence[str], states: Sequence[str]
) -> Iterator[Problem]:
    if len(tables) > MAX_WEBHOOKS:
        yield Problem(path, f"has {len(tables)} tables, at most {MAX_WEBHOOKS} are taken")
        return
    for index, table in enumerate(tables):
        for key, reason in _table_problems(table, names, states):
            yield Problem(f"{path}[{index}].{key}", reason)


def _table_problems(table: WebhookTable, names: Sequence[str], states: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, state in enumerate(table.states):
        if state not in states:
            yield f"states[{number}]", f"must be one of {', '.join(states)}; is {shown(state)!r}"
    if table.body:
        try:
            BodyTemplate(table.body, names)
        except ValueError as exc:
            yield "body", str(exc)
    yield from _address_problems(table)


def secret_problems(path: str, tables: Sequence[WebhookTable]) -> Iterator[Problem]:
    """What is wrong with the secrets that are to sign."""
    for index, table in enumerate(tables):
        key = f"{path}[{index}].secret_file"
        try:
            if table.secret_file:
                parse_secrets(secret_in(table.secret_file))
        except OSError as exc:
            yield Problem(key, f"{table.secret_file} cannot be read: {exc.strerror}")
        except ValueError as exc:
            yield Problem(key, f"{table.secret_file} {exc}")


def _address_problems(table: WebhookTable) -> Iterator[tuple[str, str]]:
    try:
        target = receiver(table.url)
    except ValueError as exc:
        yield "url", str(exc)
        return
    if table.ca_file and not target.is_tls:
        yield "url", "has no TLS (http://), but ca_file is set; use https://"
    try:
        problem = AllowedHosts(table.allow_hosts).host_problem(target.host)
    except ValueError as exc:
        yield "allow_hosts", str(exc)
        return
    if problem:
        yield "url", problem
