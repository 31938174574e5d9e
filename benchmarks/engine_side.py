"""The engine's side of a measurement: the triggers it is sent, an Argo Server of the tests, and dispatchers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.load_processes import Program
from edgeagent.wire import messages, topics
from edgeagent.wire.messages import Trigger
from tests.fakes.argo_server import AUTO_STEP_S
from tests.fakes.mosquitto import free_port

NAMESPACE: Final = "plant"
RULE: Final = "overheat"
SOURCE: Final = "boiler-1"
ANSWER_S: Final = 0.02  # what the Argo Server takes for each answer, as Kubernetes behind it would
_TEMPLATE = "inspect"

_encoder = msgspec.json.Encoder()


class ArgoServer(Program):
    """The Argo Server of the tests, which lets every workflow run after `step_s`, and succeed after as much again."""

    def __init__(self, directory: Path, step_s: float = AUTO_STEP_S) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            *(sys.executable, "-m", "tests.fakes.argo_server", "--auto"),
            *("--port", str(port), "--template", f"{NAMESPACE}/{_TEMPLATE}"),
            *("--delay", str(ANSWER_S), "--step", str(step_s)),
        ]
        super().__init__(command, directory / "argo.log", lambda: "http://" in self.output)


class Dispatcher(Program):
    """`edgeagent dispatch`, one of a group: the one with the number 0 leads, and is ready when it does."""

    def __init__(self, directory: Path, broker_port: int, argo: ArgoServer, number: int = 0) -> None:
        instance = f"bench-{number}"
        ready = "event=broker_connected" if number else "event=status_leader"
        file = directory / f"{instance}.toml"
        file.write_text(
            f'[broker]\nurl = "mqtt://127.0.0.1:{broker_port}"\ninstance = "{instance}"\n'
            f'[engine]\nkind = "argo"\nurl = "{argo.url}"\n'
            f'[[allow]]\nnamespaces = ["{NAMESPACE}"]\ntemplates = ["{_TEMPLATE}"]\n'
            '[log]\nformat = "text"\n',
            "utf-8",
        )
        command = [sys.executable, "-m", "edgeagent", "dispatch", "-c", str(file)]
        super().__init__(command, directory / f"{instance}.log", lambda: ready in self.output)


def trigger(agent: str, correlation_id: str) -> bytes:
    """A trigger as an agent renders it: 700 bytes."""
    labels = {
        messages.LABEL_AGENT: agent,
        messages.LABEL_RULE: RULE,
        messages.LABEL_CORRELATION_ID: correlation_id,
    }
    annotations = {
        messages.ANNOTATION_SOURCE: SOURCE,
        messages.ANNOTATION_EVENT_ID: correlation_id,
        messages.ANNOTATION_EVENT_TIME: "2026-03-20T11:00:00Z",
    }
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": f"{RULE}-{correlation_id}",
            "namespace": NAMESPACE,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "workflowTemplateRef": {"name": _TEMPLATE},
            "arguments": {"parameters": [{"name": "temp", "value": "97.1"}]},
        },
    }
    return _encoder.encode(Trigger(NAMESPACE, workflow, correlation_id, agent, 1, topics.response_topic(agent)))
