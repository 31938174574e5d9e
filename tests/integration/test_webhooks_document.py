"""The receiver in docs/webhooks.md, as somebody copies it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from edgeagent.config.tables import FilePath, RelayWebhook
from tests.architecture.source import ROOT
from tests.fakes.mosquitto import free_port
from tests.fakes.webhook_ledger import life, webhooks
from tests.waiting import until, until_accepting


def receiver() -> str:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/webhooks.md").read_text("utf-8"), re.DOTALL)
    return str(program)


async def test_the_receiver_in_the_document_takes_what_is_signed_and_nothing_else(tmp_path: Path) -> None:
    program, secret, other, port = tmp_path / "receiver.py", tmp_path / "a.secret", tmp_path / "b.secret", free_port()
    program.write_text(receiver(), "utf-8")
    for file in (secret, other):
        made = subprocess.run(  # noqa: ASYNC221  a moment
            ["sh", "-c", 'echo "whsec_$(head -c 32 /dev/urandom | base64)"'], check=True, capture_output=True
        )
        file.write_bytes(made.stdout)
    output = tmp_path / "output"
    with output.open("wb") as out:
        process = subprocess.Popen([sys.executable, str(program), str(port), str(secret)], stdout=out, stderr=out)  # noqa: ASYNC220
    try:
        await until_accepting(process, [port], lambda: output.read_text("utf-8"))
        url = f"http://127.0.0.1:{port}/"
        tables = [RelayWebhook(url=url, secret_file=FilePath(file)) for file in (secret, other)]
        async with webhooks(tmp_path / "ledger.db", *tables) as scene:
            scene.ledger.begin(life(1))
            await until(
                lambda: scene.outcomes == {"delivered": 1, "refused": 1},
                "one that is genuine, one that is not",
                seen=lambda: (scene.outcomes, output.read_text("utf-8")),
            )
        (line,) = output.read_text("utf-8").splitlines()
        assert line.startswith('io.edgeagent.trigger.failed boiler-1 {"correlation_id":"c-1"')
    finally:
        process.kill()
        process.wait()
