from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # servers or processes of its own


PROGRAM = """
import sys
import edgeagent.agent.agent
from pathlib import Path
from edgeagent.config import load_agent
config = load_agent(Path(sys.argv[1]), {})
if config.artifacts is not None:
    from edgeagent.artifacts.making import make_store
    make_store(config.artifacts, None)
names = (
    *("httpx", "obstore", "edgeagent.artifacts", "edgeagent.config.artifacts", "edgeagent.outbox.spool_book"),
    *("edgeagent.agent.artifact_parts", "edgeagent.agent.upload", "edgeagent.agent.spool_parts"),
)
print(*(name for name in sys.modules if name.startswith(names)))
"""
RULE = '[[rule]]\nname = "r"\nnamespace = "plant"\ntemplate = "t"\n'


def loaded(directory: Path, artifacts: str) -> set[str]:
    (directory / "key").touch()
    file = directory / "config.toml"
    file.write_text(artifacts + RULE, "utf-8")
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(file)], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] if "edgeagent" not in name else name for name in done.stdout.split()}


def test_an_agent_without_artifacts_loads_nothing_for_them(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == set()


@pytest.mark.parametrize(
    ("store", "library"),
    [
        ('store = "file:///mnt/shared"', set()),
        ('store = "https://dav.example"', {"httpx"}),
        ('store = "s3://bucket"\naccess_key_file = "key"', {"httpx"}),
        ('store = "az://container"\naccess_key_file = "key"', {"obstore"}),
    ],
)
def test_a_store_loads_its_own_library_and_no_other(tmp_path: Path, store: str, library: set[str]) -> None:
    found = loaded(tmp_path, f"[artifacts]\n{store}\n")
    assert {name for name in found if "edgeagent" not in name} == library
