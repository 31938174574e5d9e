"""A gateway to which everything happens at once: nothing acknowledged is lost, nothing is doubled, nothing grows."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from tests.fakes.field import Field, field
from tests.fakes.growth import Growth
from tests.fakes.storm import Storm

# How long the long one lasts, and with which chances, when it is to be another time than an hour, or the same again.
DURATION_S = float(os.environ.get("SOAK_DURATION_S", "3600"))
SEED = int(os.environ.get("SOAK_SEED", str(secrets.randbits(32))))
MIB = 1 << 20
# What a process may have taken more at the end: its memory, in part and beside that; its descriptors.
MORE_PART, MORE_BYTES, MORE_DESCRIPTORS = 0.15, 4 * MIB, 3


def has_not_grown(growth: Growth) -> None:
    for name, (early, late) in growth.early_and_late().items():
        print(f"{name}: {early} early, {late} late")  # noqa: T201  with -s, and when it fails
        assert late.memory_bytes <= early.memory_bytes * (1 + MORE_PART) + MORE_BYTES, name
        assert late.descriptors <= early.descriptors + MORE_DESCRIPTORS, name


async def all_is_well(here: Field, storm: Storm) -> None:
    account = await here.all_is_done()
    assert account["accepted"] >= len(here.promised)
    for program in (here.agent, *here.dispatchers):
        assert "Traceback" not in program.log
        for event in ("outbox_account_wrong", "outbox_damaged", "ledger_damaged", "crashed"):
            assert f"event={event}" not in program.log, event
    assert await here.agent.stop() == 0
    assert (await here.agent.command("outbox", "verify"))[0] == 0
    print(f"{account['accepted']} workflows; {dict(storm.done)}")  # noqa: T201  with -s


@pytest.mark.soak  # ten programs and brokers: too much for every run; its parts are in test_kill, test_clock, ...
async def test_all_faults_at_once_for_some_seconds_lose_and_double_nothing(tmp_path: Path) -> None:
    print(f"seed {SEED}")  # noqa: T201  pytest shows it when the test fails
    async with field(tmp_path, pace_s=0.05) as here:
        storm = Storm(here, SEED)
        await storm.rage(4)
        await all_is_well(here, storm)


@pytest.mark.soak
@pytest.mark.timeout(3 * DURATION_S + 1200)
async def test_all_faults_at_once_for_an_hour_lose_and_double_nothing_and_nothing_grows(tmp_path: Path) -> None:
    print(f"seed {SEED}")  # noqa: T201  pytest shows it when the test fails
    async with field(tmp_path, pace_s=1.0) as here:
        storm = Storm(here, SEED)
        growth = await storm.rage(DURATION_S)
        await all_is_well(here, storm)
        has_not_grown(growth)
