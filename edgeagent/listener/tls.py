"""The listener's own certificate, and whose certificates of devices count; read again when a file changes."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.common.certificate_ends import Ends
from edgeagent.common.certificates import expiries
from edgeagent.config.authorities import end_of_authorities
from edgeagent.config.secretfile import FileState, secret_in, state_of_file, why_unusable
from edgeagent.config.tables import Mqtt
from edgeagent.errors import ConfigError, Problem

if TYPE_CHECKING:
    import ssl

_DAY_S = 86_400.0

_log = logging.getLogger(__name__)


class ServerCertificates:
    """What the TLS listeners use. Files are read here: `load` is not for the loop's thread, but for the start.

    `ends`: until when the certificates in use are valid.
    """

    def __init__(self, mqtt: Mqtt) -> None:
        self._mqtt = mqtt
        self._files = [file for file in (mqtt.ca_file, mqtt.cert_file, mqtt.key_file, mqtt.key_password_file) if file]
        self._seen: list[FileState] = []
        self.ends = Ends()

    @property
    def days_left(self) -> int | None:
        """Whole days until the certificate in use ends, negative when it has; None: that is not known."""
        own = self.ends.own
        return None if own is None else int((own - datetime.now(UTC)).total_seconds() // _DAY_S)

    def load(self) -> ssl.SSLContext:
        """TLS as the configuration asks for it, with what is on disk now.

        Raises:
            ConfigError: a file cannot be used; names its key.
        """
        import ssl  # noqa: PLC0415  4 MiB, which listeners without TLS do without

        mqtt = self._mqtt
        self._seen = [state_of_file(file) for file in self._files]  # what changes meanwhile then counts as new
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if mqtt.ca_file:
            context.verify_mode = ssl.CERT_OPTIONAL  # a device without one may have a password; if not, CONNACK says so
            try:
                context.load_verify_locations(mqtt.ca_file)
            except (OSError, ValueError) as exc:
                raise _unusable("ca_file", mqtt.ca_file, exc) from exc
        password = b""
        if mqtt.key_password_file:
            try:
                password = secret_in(mqtt.key_password_file)
            except OSError as exc:
                raise _unusable("key_password_file", mqtt.key_password_file, exc) from exc
        try:
            # Always a callback: without one OpenSSL would ask for the password of an encrypted key on the terminal.
            context.load_cert_chain(mqtt.cert_file, mqtt.key_file, password=lambda: password)
            own = next(iter(expiries(Path(mqtt.cert_file).read_bytes())), None)
        except (OSError, ValueError) as exc:
            raise _unusable("cert_file", f"{mqtt.cert_file} (with {mqtt.key_file})", exc) from exc
        self.ends = Ends(own, end_of_authorities(mqtt.ca_file, datetime.now(UTC)))
        return context

    def renewed(self) -> ssl.SSLContext | None:
        """What new connections use from now on, if a file has changed. One that cannot be used changes nothing."""
        if [state_of_file(file) for file in self._files] == self._seen:
            return None
        try:
            context = self.load()
        except ConfigError as exc:
            _log.warning(
                "the new certificates of the MQTT listener do not work, the old ones stay in use: %s",
                exc,
                extra={"event": "mqtt_certificate_refused"},
            )
            return None
        return context


def _unusable(key: str, file: str, exc: OSError | ValueError) -> ConfigError:
    return ConfigError(file, [Problem(f"mqtt.{key}", f"cannot be used ({why_unusable(exc)})")])
