"""The gateways of `benchmarks fleet` are made of the agent's own parts: a small fleet shows what these do together."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fleet_scene import Fleet, engine_side, workflows_of

pytestmark = pytest.mark.slow

_GATEWAYS = 20
_LONG_UP_S = 1e6


async def test_each_trigger_of_a_fleet_starts_one_workflow_and_comes_to_its_end(tmp_path: Path) -> None:
    with engine_side(tmp_path, 1, step_s=0.1) as engine:
        fleet = Fleet(_GATEWAYS)
        async with fleet.connecting(engine.url, uptime_s=_LONG_UP_S):
            await fleet.until(lambda: fleet.is_up)
            fleet.give_each(3)
            await fleet.until(lambda: fleet.is_finished)
        names = await workflows_of(engine.argo)
    assert fleet.tally.problem == ""
    assert len(names) == len(set(names)) == 3 * _GATEWAYS
