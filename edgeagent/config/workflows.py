"""Rules whose workflow stands in a file of its own: JSON, or YAML with the `yaml` extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeagent.config.tables import AgentConfig
from edgeagent.core.rules import workflow_problems
from edgeagent.core.rulespec import RuleSpec
from edgeagent.errors import ConfigError, Problem

# A workflow must fit etcd; nothing larger can ever be sent.
_MAX_FILE_BYTES = 1 << 20


def with_workflow_files(config: AgentConfig, path: Path) -> AgentConfig:
    """The configuration with each rule's `workflow_file` read into `workflow`.

    Raises:
        ConfigError: names each rule whose file cannot be used.
    """
    problems: list[Problem] = []
    rules: list[RuleSpec] = []
    for index, rule in enumerate(config.rule):
        if not rule.workflow_file:
            rules.append(rule)
            continue
        key = f"rule[{index}].workflow_file"
        try:
            workflow = _read(path.parent / rule.workflow_file)
        except ValueError as exc:
            problems.append(Problem(key, f"{rule.workflow_file}: {exc}"))
            continue
        problems.extend(
            Problem(key, f"{rule.workflow_file}: {part}: {why}") for part, why in workflow_problems(workflow)
        )
        rules.append(msgspec.structs.replace(rule, workflow=workflow))
    if problems:
        raise ConfigError(str(path), problems)
    return msgspec.structs.replace(config, rule=rules)


def _read(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise ValueError(f"cannot be read: {exc.strerror}") from exc
    if len(text) > _MAX_FILE_BYTES:
        raise ValueError(f"has more than {_MAX_FILE_BYTES} bytes")
    try:
        return _yaml(text) if file.suffix in {".yaml", ".yml"} else msgspec.json.decode(text)
    except RecursionError as exc:
        raise ValueError("is nested too deep") from exc


def _yaml(text: bytes) -> Any:
    try:
        import yaml  # noqa: PLC0415  an optional extra, wanted only by those who use it
    except ModuleNotFoundError as exc:
        raise ValueError("YAML needs the extra: pip install 'edgeagent[yaml]'; or write it as JSON") from exc
    try:
        # Through JSON, so that dates and other YAML types cannot hide in a workflow: JSON has none.
        return msgspec.json.decode(msgspec.json.encode(yaml.safe_load(text)))
    except (yaml.YAMLError, TypeError) as exc:
        raise ValueError(f"is no YAML that JSON can hold: {exc}".replace("\n", " ")) from exc
