"""The codec of MQTT 5 is compiled, and not for every machine: what runs without it never imports it."""

from __future__ import annotations

import pytest

from tests.architecture.source import Module, modules

pytestmark = pytest.mark.slow  # servers or processes of its own


CODEC = "mqtt5"
# The engine that stands on it, which `engines.begin` imports when a connection is made by it; and what the listener
# reads MQTT 5 with, which a connection imports when a client speaks it.
ENGINE = (
    *("edgeagent.mqtt.v5", "edgeagent.mqtt.packets", "edgeagent.mqtt.publishing"),
    *("edgeagent.listener.codec5", "edgeagent.listener.reading5"),
)
PACKAGE = {module.name: module for module in modules("edgeagent")}


def module_of(dotted: str) -> str:
    """The module of ours that an imported name is, or stands in; "" for foreign ones."""
    return next((name for name in (dotted, dotted.rpartition(".")[0]) if name in PACKAGE), "")


def way_to_codec(module: Module) -> list[str]:
    """The chain of imports from this module to the codec, empty if there is none."""
    seen, ways = {module.name}, [[module]]
    while ways:
        way = ways.pop()
        for use in way[-1].first_imports:
            if use.name.partition(".")[0] == CODEC:
                return [*(step.name for step in way), CODEC]
            following = module_of(use.name)
            if following and following not in seen:
                seen.add(following)
                ways.append([*way, PACKAGE[following]])
    return []


def with_codec() -> set[str]:
    """All modules from which imports lead to the codec, in however many steps."""
    found: set[str] = set()
    while more := {name for name, module in PACKAGE.items() if name not in found and one_step(module, found)}:
        found |= more
    return found


def one_step(module: Module, to: set[str]) -> bool:
    """Whether it imports the codec, or one of these modules."""
    return any(use.name.partition(".")[0] == CODEC or module_of(use.name) in to for use in module.first_imports)


def test_only_its_engine_imports_the_codec_when_it_is_imported() -> None:
    found = with_codec()
    assert "edgeagent.mqtt.v5" in found
    for name in sorted(found):
        assert name.startswith(ENGINE), (
            f"{' imports '.join(way_to_codec(PACKAGE[name]))}: so nothing starts where {CODEC} does not exist; "
            "move what is needed to a module without it, or import the engine where a connection begins"
        )


def test_the_codec_is_found_where_it_is() -> None:
    assert way_to_codec(PACKAGE["edgeagent.mqtt.v5"])[-1] == CODEC
    assert way_to_codec(PACKAGE["edgeagent.mqtt.publishing"]) == [
        "edgeagent.mqtt.publishing",
        "edgeagent.mqtt.packets",
        CODEC,
    ]
