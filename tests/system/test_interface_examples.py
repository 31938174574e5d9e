"""The programs of docs/interface.md, as somebody who implements another end would begin."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import ArgoDispatcher
from tests.fakes.programs import Agent
from tests.fakes.rabbitmq import RabbitMq

PAGE = Path(__file__).parents[2] / "docs" / "interface.md"


async def test_a_foreign_producer_is_answered_and_a_foreign_engine_settles_what_a_gateway_sends(tmp_path: Path) -> None:
    producer, engine = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "rabbitmq").mkdir()
    async with RabbitMq(tmp_path / "rabbitmq") as broker, FakeArgo() as argo:
        argo.templates.add(("plant", "inspect"))
        async with ArgoDispatcher(tmp_path / "d0", broker.url, argo.url):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", producer, broker.url, stdout=subprocess.PIPE
            )
            out, _ = await process.communicate()
        assert out.decode() == "200 batch-1 None\n"
        assert [workflow["metadata"]["name"] for workflow in argo.workflows()] == ["batch-1"]
        await broker.control("delete_queue", "edgeagent.trigger.edgeagent")
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", engine, broker.url)
        try:
            async with Agent(tmp_path / "agent", broker.url) as agent:
                correlation = await agent.triggered("boiler-1", {"temp": 97.1})
                report = await agent.state(correlation, "triggered")
                assert report["workflowId"] == f"overheat-{correlation}"
        finally:
            process.kill()
            await process.wait()
