"""The whole of `edgeagent run`. What a configuration does without is not loaded: it would cost memory all the time."""

from __future__ import annotations

import os
import signal

from edgeagent.host import systemd
from edgeagent.host.sparing import import_asyncio_without_tls, import_msgspec_alone


def run_agent(config_file: str | None = None) -> int:
    """Run an agent until SIGTERM or SIGINT; returns the exit code. `config_file`: as given by `-c`.

    Raises:
        ConfigError, OutboxLocked, StorageFailed, ListenFailed: the agent cannot start.
    """
    # SIGHUP waits until the agent can reload: its default would end the process, and ignoring it could miss a change.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    import_msgspec_alone()
    from edgeagent.config import agent_config_path, load_agent  # noqa: PLC0415  with it comes msgspec
    from edgeagent.config.encryption import uses_tls  # noqa: PLC0415  as above

    path = agent_config_path(config_file).absolute()
    config = load_agent(path)
    refused = ""
    directory = systemd.state_directory(config.agent.state_dir)
    if os.path.exists(directory / "config-trial.json"):  # noqa: PTH110  false if it cannot be known
        from edgeagent.agent.config_trial import TrialFile, file_to_use  # noqa: PLC0415  hardly ever there is one

        chosen, refused = file_to_use(path, TrialFile(directory))
        config = load_agent(chosen)
    if not uses_tls(config):
        import_asyncio_without_tls()
    from edgeagent.cli.serving import serve_agent  # noqa: PLC0415  with it comes asyncio

    return serve_agent(config, path, refused)
