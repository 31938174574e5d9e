"""The workflows of rules: reads those in files of their own (JSON, or YAML with the `yaml` extra), and checks all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.config.tables import AgentConfig
from edgeagent.errors import ConfigError, Problem
from edgeagent.rules.problems import dest_problems, rule_notes, workflow_problems
from edgeagent.rules.spec import RuleSpec

# A workflow must fit into etcd; a larger one can never be started.
_MAX_FILE_BYTES = 1 << 20
_MAX_PROBLEMS = 20
# With arguments of less than this the message of a trigger is never too large.
_SURELY_SHORT_BYTES = 64 << 10


def workflow_of_rule_problems(rule: RuleSpec) -> Iterator[tuple[str, str]]:
    """What the engine would refuse in a rule's workflow: key path below the rule, and reason; the first ones only.

    Args:
        rule: a rule without `rule_problems`; its `workflow_file`, if it has one, was read.
    """
    if is_all_made_here(rule):
        return
    from edgeagent.rules.workflow import rule_workflow_problems  # noqa: PLC0415  with it come Argo's types

    problems = rule_workflow_problems(rule)
    yield from islice(problems, _MAX_PROBLEMS)
    for key, _ in islice(problems, 1):
        yield key.partition(".")[0], f"has more problems than these {_MAX_PROBLEMS}"


def is_all_made_here(rule: RuleSpec) -> bool:
    """Whether edgeagent makes the whole workflow, a reference to a template and arguments: nothing can be wrong in it.

    Most rules are of this kind, and Argo's types would take 0.2 MiB as long as the agent runs.
    """
    if rule.workflow is not None or rule.parameters or rule.labels:
        return False
    return len(msgspec.json.encode(rule.arguments)) < _SURELY_SHORT_BYTES


def with_workflow_files(config: AgentConfig, path: Path) -> AgentConfig:
    """The configuration with each rule's `workflow_file` read into `workflow`.

    Raises:
        ConfigError: names each rule whose file cannot be used, and why.
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
        found = [(f"workflow.{part}", why) for part, why in workflow_problems(workflow)]
        if not found:
            rule = msgspec.structs.replace(rule, workflow=workflow)  # noqa: PLW2901  the rule with its file's content
            found = [*dest_problems(rule)] or [*workflow_of_rule_problems(rule)]
        problems.extend(_located(index, rule.workflow_file, where, why) for where, why in found)
        rules.append(rule)
    if problems:
        raise ConfigError(str(path), problems)
    return msgspec.structs.replace(config, rule=rules)


def config_notes(config: AgentConfig) -> Iterator[Problem]:
    """Notes on the rules of a configuration that are no errors, but may surprise.

    Args:
        config: as returned by `load_agent`.
    """
    for index, rule in enumerate(config.rule):
        for where, why in rule_notes(rule):
            if rule.workflow_file:
                yield _located(index, rule.workflow_file, where, why)
            else:
                yield Problem(f"rule[{index}].{where}", why)


def _located(index: int, file: str, where: str, why: str) -> Problem:
    """A rule's problem, with the path where it can be found: a path below `workflow` refers to the file."""
    head, _, part = where.partition(".")
    if head != "workflow":
        return Problem(f"rule[{index}].{where}", why)
    return Problem(f"rule[{index}].workflow_file", f"{file}: {part}: {why}" if part else f"{file}: {why}")


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
        import yaml  # noqa: PLC0415  an optional extra, only for those who use it
    except ModuleNotFoundError as exc:
        raise ValueError("YAML needs the extra: pip install 'edgeagent[yaml]'; or write it as JSON") from exc
    try:
        # Through JSON, so that dates and other YAML types cannot hide in a workflow: JSON has none.
        return msgspec.json.decode(msgspec.json.encode(yaml.safe_load(text)))
    except (yaml.YAMLError, TypeError) as exc:
        raise ValueError(f"is not YAML that JSON can represent: {exc}".replace("\n", " ")) from exc
