"""`host.loop`: names are looked up without the tables of international ones."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from edgeagent.host.loop import Loop

LOOKS_UP = """
import asyncio, sys
from edgeagent.host.loop import Loop
with asyncio.Runner(loop_factory=Loop) as runner:
    infos = runner.run(Loop.getaddrinfo(runner.get_loop(), "localhost", 80, type=1))
assert infos[0][4][1] == 80, infos
print("encodings.idna" in sys.modules, "stringprep" in sys.modules)
"""


def test_a_name_of_ascii_is_looked_up_without_the_tables_of_others() -> None:
    found = subprocess.run([sys.executable, "-c", LOOKS_UP], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_an_address_and_an_international_name_are_looked_up_as_ever() -> None:
    async def look(loop: Loop) -> None:
        infos = await loop.getaddrinfo("127.0.0.1", 1883, type=1)
        assert [info[4] for info in infos] == [("127.0.0.1", 1883)]
        try:
            await loop.getaddrinfo("bücher.invalid", 1883)
        except OSError:
            return
        raise AssertionError("there is no such name")

    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Loop)
        runner.run(look(loop))
