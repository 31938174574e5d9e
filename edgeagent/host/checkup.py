"""The checks of `edgeagent doctor` on a configuration's files: who may read secrets, when certificates end."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgeagent.common.certificates import expiries
from edgeagent.common.finding import Finding, fail, ok, warn
from edgeagent.config.tables import CloudConnection, Connection, Mqtt, WebhookTable

# Enough time to renew a certificate without haste.
WARN_BEFORE = timedelta(days=30)
_MAX_PEM_BYTES = 4 << 20


def connection_findings(table: str, connection: Connection) -> Iterator[Finding]:
    """Findings on a broker connection's secrets and certificates; `table`: its table in the configuration."""
    yield from secret_findings(
        {
            f"{table}.password_file": connection.password_file,
            f"{table}.key_file": connection.key_file,
            f"{table}.key_password_file": connection.key_password_file,
        }
    )
    if isinstance(connection, CloudConnection):
        cloud = {"credentials_file": connection.credentials_file, "token_file": connection.token_file}
        yield from secret_findings({f"{table}.{key}": file for key, file in cloud.items()})
    yield from certificate_findings(
        {f"{table}.ca_file": connection.ca_file, f"{table}.cert_file": connection.cert_file}
    )


def listener_findings(mqtt: Mqtt) -> Iterator[Finding]:
    """The secrets and certificates of the agent's own MQTT listener."""
    keys = ("users_file", "key_file", "key_password_file")
    yield from secret_findings({f"mqtt.{key}": getattr(mqtt, key) for key in keys})
    yield from certificate_findings({"mqtt.ca_file": mqtt.ca_file, "mqtt.cert_file": mqtt.cert_file})


def webhook_file_findings(path: str, webhook: WebhookTable) -> Iterator[Finding]:
    """The secret and the authorities of a receiver of webhooks; `path`: of its table."""
    yield from secret_findings({f"{path}.secret_file": webhook.secret_file})
    yield from certificate_findings({f"{path}.ca_file": webhook.ca_file})


def secret_findings(files: Mapping[str, str]) -> Iterator[Finding]:
    """Whether every user of this machine may read or change a secret. `files`: by key, "" for those not configured."""
    for key, file in files.items():
        if not file:
            continue
        try:
            mode = Path(file).stat().st_mode
        except OSError as exc:
            yield _unreadable(key, file, exc)
            continue
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            found = f"{file} is open to everybody on this machine (mode {stat.S_IMODE(mode):04o})"
            yield warn(key, found, f"chmod o= {file}, and give it to the service's user or group")
        else:
            yield ok(key, f"{file} is closed to others (mode {stat.S_IMODE(mode):04o})")


def certificate_findings(files: Mapping[str, str], now: datetime | None = None) -> Iterator[Finding]:
    """When the certificates in each file end. `files`: by key, "" if not configured; `now`: with a time zone."""
    for key, file in files.items():
        if not file:
            continue
        try:
            with Path(file).open("rb") as stream:
                ends = expiries(stream.read(_MAX_PEM_BYTES))
        except OSError as exc:
            yield _unreadable(key, file, exc)
        except ValueError as exc:
            yield fail(key, f"{file}: {exc}", "put PEM certificates into it")
        else:
            yield _certificate_finding(key, file, ends, now or datetime.now(UTC))


def _certificate_finding(key: str, file: str, ends: list[datetime], now: datetime) -> Finding:
    """The finding for a file. Of several certificates, the first to end counts.

    It is not known which of them is needed, so one that has ended is a warning, unless all have.
    """
    if not ends:
        return fail(key, f"{file} holds no certificate", "put PEM certificates into it")
    first = min(ends)
    which = "its certificate" if len(ends) == 1 else f"the first of its {len(ends)} certificates"
    when = f"{first:%Y-%m-%d}, {_days(first - now)}"
    if max(ends) <= now:
        return fail(key, f"{file}: {which} ended on {when}", "renew it")
    if first <= now:
        return warn(key, f"{file}: {which} ended on {when}", "remove it, or renew it")
    if first - now < WARN_BEFORE:
        return warn(key, f"{file}: {which} ends on {when}", "renew it before then")
    return ok(key, f"{file}: {which} ends on {when}")


def _days(left: timedelta) -> str:
    return f"in {left.days} days" if left >= timedelta(0) else f"{-left.days} days ago"


def _unreadable(key: str, file: str, exc: OSError) -> Finding:
    remedy = "let the service's user read it, and run the doctor as that user"
    return fail(key, f"{file} cannot be read: {exc.strerror}", remedy)
