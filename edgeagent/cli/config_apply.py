"""`edgeagent config apply`: checks a file, shows what it changes, uses it, and goes back if it does not work.

The agent itself judges a configuration that needs a restart (`agent/config_trial.py`), so that a gateway comes back
without whoever applied it. This command waits for the verdict, and puts the file before back when it is bad.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from edgeagent.agent.config_trial import Trial, TrialFile, digest_of
from edgeagent.agent.reload import changed_tables
from edgeagent.cli import replay
from edgeagent.cli.client import AgentClient
from edgeagent.cli.config_changes import ConfigChange, changes
from edgeagent.cli.find_agent import socket_path
from edgeagent.cli.options import say, say_json
from edgeagent.common.plural import counted
from edgeagent.config import agent_config_path, load_agent
from edgeagent.config.identity import identity, plain
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import AgentUnreachable, CommandFailed, ConfigError, EdgeAgentError, Problem
from edgeagent.host.systemd import state_directory
from edgeagent.outbox.files import create_anew, keep_as
from edgeagent.outbox.owner import acting_as_owner
from edgeagent.ports.operator import RELOAD, NoArguments

_SYSTEMD = Path("/run/systemd/system")
_UNIT_RESTART = ("systemctl", "restart", "edgeagent.service")
_LOOK_S = 0.25
# For the agent's end and its start, beside the time that it gives the uplink.
_RESTART_S = 60.0


class Application:
    """One run of the command. Promises that either configuration is whole on the disk at any moment."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Read both files.

        Raises:
            ConfigError: one cannot be read.
        """
        self._args = args
        self._path = agent_config_path(args.config).absolute()
        self._old, self._new = _read(self._path), _read(Path(args.file))
        self._before = self._path.with_name(self._path.name + ".before")

    def run(self) -> int:
        """Do it; returns the exit code.

        Raises:
            ConfigError: the file cannot be used.
            CommandFailed: it was not applied, or was given up.
        """
        candidate = self._path.with_name(self._path.name + ".new")
        self._install(candidate, self._new)
        try:
            before, after = self._loaded(candidate)
            found = changes(plain(before), plain(after))
            self._show(after, found)
            if not found or self._args.dry_run:
                return 0
            restart = changed_tables(before, after)
            with AgentClient.unix(socket_path(before)) as client:
                runs = _answers(client)
                command = self._restart_command(restart) if runs and restart else ()
                trial = self._begin(before) if restart else None
                self._install(self._path, self._new)
                if not runs:
                    what = "is on trial" if restart else "is used"
                    self._tell(f"no agent runs: it {what} from its next start on")
                elif trial is None:
                    self._reload(client)
                else:
                    self._restart(trial, command)
        finally:
            candidate.unlink(missing_ok=True)
        return 0

    def _loaded(self, candidate: Path) -> tuple[AgentConfig, AgentConfig]:
        try:
            after = load_agent(candidate)
        except ConfigError as exc:
            raise ConfigError(self._args.file, exc.problems) from exc
        before = load_agent(self._path)
        if before.agent.state_dir != after.agent.state_dir:
            raise CommandFailed("agent.state_dir differs: another state is not applied, stop the agent and move it")
        return before, after

    def _show(self, after: AgentConfig, found: list[ConfigChange]) -> None:
        if self._args.json:
            listed = [change._asdict() for change in found]
            say_json({"file": str(self._path), "config": identity(after), "changes": listed})
            return
        say(f"{self._path}: " + (f"{counted(len(found), 'change')}" if found else "nothing changes"))
        for change in found:
            say(f"  {change.key}: {change.before} -> {change.after}")
        if any(change.key.startswith("rule[") for change in found):
            self._rehearse(after)

    def _rehearse(self, after: AgentConfig) -> None:
        """Show what the rules would have done with what is still in the outbox."""
        asked = argparse.Namespace(
            config=str(self._path), json=False, replay=replay.RECENT, against=str(self._path), map=[], source=""
        )
        try:
            replay.run(asked, self._path, after)
        except EdgeAgentError as exc:  # none of it keeps a good configuration from being applied
            say(f"  not rehearsed: {exc}")

    def _restart_command(self, tables: tuple[str, ...]) -> tuple[str, ...]:
        if self._args.restart:
            return tuple(shlex.split(self._args.restart))
        if _SYSTEMD.exists():
            return _UNIT_RESTART
        named = ", ".join(f"[{table}]" for table in tables)
        raise CommandFailed(f"{named} change, which needs a restart of the agent: name the command with --restart")

    def _begin(self, before: AgentConfig) -> TrialFile:
        self._install(self._before, self._old)
        directory = state_directory(before.agent.state_dir)
        trial = TrialFile(directory)
        with acting_as_owner(directory):
            trial.write(Trial(digest_of(self._new), str(self._before), float(self._args.within)))
        return trial

    def _reload(self, client: AgentClient) -> None:
        try:
            reloaded = client.perform(RELOAD, NoArguments())
        except EdgeAgentError:
            self._install(self._path, self._old)
            with contextlib.suppress(EdgeAgentError):
                client.perform(RELOAD, NoArguments())
            raise
        self._tell(f"applied: rules from now on: {reloaded.rules}")

    def _restart(self, trial: TrialFile, command: tuple[str, ...]) -> None:
        try:
            with _determined():
                _run(command)
                found = self._verdict(trial)
        except BaseException:
            self._go_back(trial)
            with contextlib.suppress(CommandFailed):
                _run(command)
            raise
        if found is not None:
            self._go_back(trial)
            raise CommandFailed(f"given up: {found.failed}; {self._path} is as it was before")
        self._tell("applied: the uplink is up with it")

    def _verdict(self, trial: TrialFile) -> Trial | None:
        """The trial that has failed; None if it is over and the configuration is kept."""
        end = time.monotonic() + self._args.within + _RESTART_S
        while True:
            found = trial.read()
            if found is None or found.failed:
                return found
            if time.monotonic() >= end:
                raise CommandFailed(f"given up: the agent did not come up; {self._path} is as it was before")
            time.sleep(_LOOK_S)

    def _go_back(self, trial: TrialFile) -> None:
        self._install(self._path, self._old)
        trial.end()

    def _install(self, path: Path, data: bytes) -> None:
        """Replace a file, synced, with the owner and the mode of the configuration as it is."""
        like = self._path.stat()
        temporary = path.with_name(path.name + ".tmp")
        try:
            with os.fdopen(create_anew(temporary), "wb") as stream:
                stream.write(data)
                os.fchmod(stream.fileno(), like.st_mode & 0o777)
                if os.geteuid() == 0:
                    os.fchown(stream.fileno(), like.st_uid, like.st_gid)
                keep_as(stream, temporary, path)
        except OSError as exc:
            raise CommandFailed(f"{path} cannot be written: {exc.strerror}") from exc

    def _tell(self, text: str) -> None:
        if not self._args.json:
            say(text)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(str(path), [Problem("", f"cannot be read: {exc.strerror}")]) from exc


def _answers(client: AgentClient) -> bool:
    try:
        client.request("GET", "/v1/stats")
    except AgentUnreachable:
        return False
    return True


def _run(command: tuple[str, ...]) -> None:
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603  it is the operator's own
    except (OSError, subprocess.CalledProcessError) as exc:
        raise CommandFailed(f"the agent cannot be restarted: {shlex.join(command)}: {exc}") from exc


@contextlib.contextmanager
def _determined() -> Iterator[None]:
    """A lost terminal does not end the wait, and an end that is asked for goes back."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGTERM, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGTERM, before[1])
