from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import edgeagent.agent.agent
from pathlib import Path
from edgeagent.config import load_agent
load_agent(Path("config.example.toml"), {})
names = ("httpx", "httpcore", "edgeagent.webhooks", "edgeagent.wire.webhook")
print(*(name for name in sys.modules if name.startswith(names)))
"""


@pytest.mark.slow
def test_an_agent_without_webhooks_loads_nothing_for_them() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert found.stdout.split() == []
