"""The pictures of the status page in docs/images: `python -m tests.screenshots`, in two minutes.

A real agent is played eight weeks of a real flow sensor in a minute, which it takes for an hour, with an outage in it.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgeagent.demo.series import Reading, load
from tests.fakes.browser import StatusPage, status_page
from tests.fakes.hasty_program import PLAYED_S
from tests.fakes.mosquitto import Mosquitto, free_port
from tests.fakes.programs import Agent, Dispatcher, end_programs
from tests.fakes.tcp_proxy import TcpProxy

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
_BRANCHES: Final = ("north", "harbour", "old-town", "west", "hill")
_TICK_S: Final = 0.25
_STARTING_S: Final = 3.5  # what is left of the hour when the agent is there
_CUT_AT, _HEALED_AT = 0.42, 0.57  # of the whole
_LOSS_L_S: Final = 80

_RULES: Final = f"""
[[rule]]
name = "leak-inspection"
namespace = "water"
template = "inspect-leak"
arguments = {{ flow = "body.flow_l_s" }}
filters.data = [{{ path = "body.flow_l_s", type = "number", comparator = "<", value = ["{_LOSS_L_S}"] }}]
[[rule]]
name = "archive"
namespace = "water"
template = "archive-reading"
arguments = {{ flow = "body.flow_l_s" }}
[[rule]]
name = "close-valve"
namespace = "water"
template = "close-valve"
source = "water-main/hill"
filters.data = [{{ path = "body.flow_l_s", type = "number", comparator = "<", value = ["{_LOSS_L_S}"] }}]
"""
# Nobody has allowed yet that a gateway closes valves: that makes dead letters.
_ALLOW: Final = '[[allow]]\nnamespaces = ["water"]\ntemplates = ["inspect-leak", "archive-reading"]'


class _HastyAgent(Agent):
    module = "tests.fakes.hasty_program"


async def _send(agent: Agent, readings: Sequence[tuple[int, Reading]]) -> None:
    events = [
        {"source": f"water-main/{_BRANCHES[place % len(_BRANCHES)]}", "data": {"flow_l_s": reading.flow_l_s}}
        for place, reading in readings
    ]
    if events:
        await agent.request("POST", "/v1/events", json.dumps(events).encode(), Content_Type="application/json")


async def _play(agent: Agent, proxy: TcpProxy) -> None:
    """Send all readings while the agent's hour lasts."""
    readings = list(enumerate(load()))
    loop = asyncio.get_running_loop()
    started_at, sent, is_cut = loop.time(), 0, False
    while sent < len(readings):
        share = (loop.time() - started_at) / (PLAYED_S - _STARTING_S)
        until = min(len(readings), int(share * len(readings)))
        await _send(agent, readings[sent:until])
        sent = until
        if not is_cut and _CUT_AT <= share < _HEALED_AT:
            is_cut = True
            await proxy.cut()
        if is_cut and share >= _HEALED_AT:
            is_cut = False
            await proxy.heal()
        await asyncio.sleep(_TICK_S)


async def _shoot(seen: StatusPage, name: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    await seen.page.screenshot(path=IMAGES / f"{name}.png")


async def _scene(directory: Path) -> None:
    port = free_port()
    (directory / "broker").mkdir()
    async with Mosquitto(directory / "broker") as broker, TcpProxy(broker.port) as proxy:
        agent = _HastyAgent(
            directory / "gateway",
            proxy.url,
            rules=_RULES,
            listen=f"127.0.0.1:{port}",
            tables={"agent": "", "uplink": "accept_dry_run = true"},
        )
        async with Dispatcher(directory / "dispatcher", broker.url, _ALLOW), agent:
            await _play(agent, proxy)
            await agent.account(pending=0)
            async with status_page(port, size=(1200, 780)) as seen:
                await seen.shows("#dead .error", "(403)")
                await _send(agent, [each for each in enumerate(load()) if each[1].is_loss][-5:])
                await seen.page.wait_for_function(
                    "() => [...document.querySelectorAll('#triggers tr.one')].slice(0, 3)"
                    ".some((row) => row.textContent.includes('leak'))"
                )
                await seen.shows("#chart-pending output", "at most")
                await _shoot(seen, "page-light")
            await proxy.cut()
            await _send(agent, list(enumerate(load()))[:48])
            async with status_page(port, size=(360, 780), scheme="dark", scale=1.75) as seen:
                await seen.shows("#line", "Uplink down")
                await seen.shows("#triggers tr.one .state", "buffered")
                await seen.shows("#pending-more", "oldest")
                await _shoot(seen, "page-phone-dark")


def main() -> None:
    """Take them."""
    try:
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(_scene(Path(directory)))
    finally:
        end_programs(set())


if __name__ == "__main__":
    main()
