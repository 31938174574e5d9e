"""The interface for those who implement another end: `python -m tests.interface` writes it from the Structs.

It writes a JSON Schema of each message and an AsyncAPI document into `docs/interface`, and the tables and examples of
`docs/interface.md`. `tests/unit/wire/test_interface.py` holds all of them to the Structs.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.interface_messages import CHANNELS, KINDS, VERSION, Channel, Kind

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGE: Final = DOCS / "interface.md"
DIRECTORY: Final = DOCS / "interface"
ASYNCAPI: Final = "asyncapi.json"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_COMPONENTS: Final = "#/components/schemas/"


def schema(kind: Kind) -> dict[str, Any]:
    """The JSON Schema of one message, complete in itself."""
    [reference], parts = msgspec.json.schema_components([kind.struct])
    parts = _portable(parts)
    own = parts.pop(reference["$ref"].rpartition("/")[2])
    whole = {"$schema": _DIALECT, **own}
    return {**whole, "$defs": parts} if parts else whole


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document of the engine's side: what a dispatcher receives and sends."""
    _, parts = msgspec.json.schema_components([kind.struct for kind in KINDS], ref_template=_COMPONENTS + "{name}")
    used = {name for channel in CHANNELS for name in channel.messages}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "edgeagent: the engine's side",
            "version": VERSION,
            "description": "What a dispatcher receives from gateways and other producers, and what it sends them. Over "
            "MQTT, QoS 1; docs/interface.md says what else each end promises.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {
            f"{channel.does}{channel.name[0].upper()}{channel.name[1:]}": _operation(channel)
            for channel in CHANNELS
            if channel.does
        },
        "components": {
            "messages": {kind.name: _message(kind) for kind in KINDS if kind.name in used},
            "schemas": _portable(parts),
        },
    }


def _channel(channel: Channel) -> dict[str, Any]:
    parameters = {"agent": {"description": "The gateway's id: a DNS label."}} if "{agent}" in channel.address else {}
    return {
        "address": channel.address,
        "summary": channel.summary,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in channel.messages},
        **({"parameters": parameters} if parameters else {}),
    }


def _operation(channel: Channel) -> dict[str, Any]:
    made: dict[str, Any] = {
        "action": channel.does,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{name}"} for name in channel.messages],
        "bindings": {"mqtt": {"qos": 0 if channel.name == "statusQuery" else 1, "retain": channel.retain}},
    }
    if channel.reply is not None:
        answered_on, answers = channel.reply
        made["reply"] = {
            "channel": {"$ref": f"#/channels/{answered_on}"},
            "messages": [{"$ref": f"#/channels/{answered_on}/messages/{name}"} for name in answers],
        }
    return made


def _message(kind: Kind) -> dict[str, Any]:
    return {
        "name": kind.name,
        "title": kind.struct.__name__,
        "payload": {"$ref": f"{_COMPONENTS}{kind.struct.__name__}"},
        "examples": [{"payload": example} for example in kind.examples],
    }


def _portable(value: Any) -> Any:
    """The same in the dialect of ECMA's patterns, with descriptions in one line."""
    if isinstance(value, list):
        return [_portable(part) for part in value]
    if not isinstance(value, dict):
        return value
    made = {name: _portable(part) for name, part in value.items()}
    if isinstance(pattern := made.get("pattern"), str):
        made["pattern"] = pattern.replace(r"\A", "^").replace(r"\Z", "$")
    if isinstance(description := made.get("description"), str):
        made["description"] = " ".join(inspect.cleandoc(description).split())
    return made


def members(kind: Kind) -> str:
    """The table of a message's members, in Markdown."""
    whole = schema(kind)
    required = set(whole.get("required", ()))
    lines = ["| member | is | when left out |", "|---|---|---|"]
    for name, part in whole["properties"].items():
        default = "**needed**" if name in required else f"`{json.dumps(part.get('default'))}`"
        lines.append(f"| `{name}` | {_type(part)} | {default} |")
    return "\n".join(lines)


def _type(part: dict[str, Any]) -> str:
    if "$ref" in part:
        return f"a {part['$ref'].rpartition('/')[2]}"
    if "anyOf" in part:
        kinds = [_type(each) for each in part["anyOf"] if each != {"type": "null"}]
        return " or ".join([*kinds, *(["null"] if {"type": "null"} in part["anyOf"] else [])])
    if "enum" in part:
        return "one of " + ", ".join(f"`{json.dumps(each)}`" for each in part["enum"])
    bounds = [
        text.format(part[key])
        for key, text in (
            ("minimum", "from {}"),
            ("maximum", "to {}"),
            ("minLength", "at least {} characters"),
            ("maxLength", "at most {} characters"),
            ("minItems", "at least {}"),
            ("maxItems", "at most {}"),
            ("pattern", "`{}`"),
        )
        if key in part
    ]
    kind = {"array": "list", "object": "object"}.get(part["type"], part["type"])
    of = f" of {_type(part['items'])}" if "items" in part else ""
    return ", ".join([f"{kind}{of}", *bounds]).replace("|", r"\|")


def page(text: str) -> str:
    """The page with its generated parts made anew: below each `<!-- name -->` up to the next `<!-- end -->`."""
    for kind in KINDS:
        examples = "\n".join(json.dumps(example) for example in kind.examples)
        link = f"[{kind.name}.schema.json](interface/{kind.name}.schema.json)"
        made = f"{members(kind)}\n\n```json\n{examples}\n```\n\n{link}\n"
        begin, end = f"<!-- {kind.name} -->\n", "<!-- end -->"
        before, found, rest = text.partition(begin)
        assert found, f"{PAGE} has no place for {kind.name}"
        text = f"{before}{begin}{made}{end}{rest.partition(end)[2]}"
    return text


def files() -> dict[Path, str]:
    """Every generated file and its content."""
    made = {DIRECTORY / f"{kind.name}.schema.json": schema(kind) for kind in KINDS}
    made[DIRECTORY / ASYNCAPI] = asyncapi()
    encoded = {path: json.dumps(value, indent=2, ensure_ascii=False) + "\n" for path, value in made.items()}
    return {**encoded, PAGE: page(PAGE.read_text("utf-8"))}


def main() -> None:
    """Write everything."""
    DIRECTORY.mkdir(exist_ok=True)
    for path, content in files().items():
        path.write_text(content, "utf-8")


if __name__ == "__main__":
    main()
