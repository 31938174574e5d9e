"""docs/interface is what the programs read and write: schemas, the AsyncAPI document, tables and examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from edgeagent.errors import MessageError
from edgeagent.wire.agent_state import parse_agent_state
from edgeagent.wire.manage import parse_manage_request, parse_manage_response
from edgeagent.wire.messages import parse_response, parse_status, parse_status_query, parse_trigger
from tests.architecture.source import ROOT
from tests.interface import ASYNCAPI, DIRECTORY, files, schema
from tests.interface_messages import KINDS, Kind

GOLDEN = ROOT / "tests/golden"
PARSERS: dict[str, Callable[[bytes], object]] = {
    "trigger": parse_trigger,
    "response": lambda payload: parse_response(payload, None),
    "status": parse_status,
    "status-query": parse_status_query,
    "manage-request": parse_manage_request,
    "manage-response": parse_manage_response,
    "agent-state": parse_agent_state,
}
BY_NAME = {kind.name: kind for kind in KINDS}
ALL = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
# AsyncAPI's own schema of its documents, of the specification's version 3.0.0 (see the NOTICE beside it).
ASYNCAPI_SCHEMA = GOLDEN / "asyncapi-3.0.0.schema.json"


def test_the_files_are_what_the_structs_say() -> None:
    made = files()
    stale = [path.name for path, content in made.items() if not path.exists() or path.read_text("utf-8") != content]
    assert stale == [], "run `.venv/bin/python -m tests.interface`"
    assert {path.name for path in DIRECTORY.iterdir()} == {path.name for path in made if path.parent == DIRECTORY}


@ALL
def test_a_schema_is_one_and_its_examples_fit_it_and_the_programs_read_them(kind: Kind) -> None:
    whole = schema(kind)
    Draft202012Validator.check_schema(whole)
    assert kind.examples
    for example in kind.examples:
        Draft202012Validator(whole).validate(example)
        payload = json.dumps(example).encode()
        if (parse := PARSERS.get(kind.name)) is not None:
            parse(payload)
        msgspec.json.decode(payload, type=kind.struct)


@ALL
def test_a_schema_has_each_member_and_needs_what_the_programs_need(kind: Kind) -> None:
    fields = msgspec.structs.fields(kind.struct)
    whole = schema(kind)
    assert list(whole["properties"]) == [field.encode_name for field in fields]
    assert whole.get("required", []) == [field.encode_name for field in fields if field.required]


@pytest.mark.parametrize("name", ["trigger-template.json", "trigger-inline.json", "trigger-cluster-scope.json"])
def test_a_trigger_that_an_agent_sends_fits_the_schema(name: str) -> None:
    Draft202012Validator(schema(BY_NAME["trigger"])).validate(json.loads((GOLDEN / name).read_bytes()))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("trigger", {"attempt": -1}),
        ("trigger", {"namespace": "x" * 64}),
        ("response", {"code": 99}),
        ("response", {"workflowId": "x" * 254}),
        ("status", {"status": "Done"}),
        ("status-query", {"correlation_ids": []}),
        ("status-query", {"agent": "a b"}),
        ("manage-request", {"operation": "explode"}),
        ("manage-request", {"request_id": "-"}),
        ("manage-request", {"limit": 101}),
        ("manage-response", {"code": 600}),
        ("agent-state", {"state": "asleep"}),
    ],
)
def test_what_the_programs_refuse_the_schema_refuses(name: str, wrong: dict[str, Any]) -> None:
    message = {**BY_NAME[name].examples[0], **wrong}
    assert not Draft202012Validator(schema(BY_NAME[name])).is_valid(message)
    with pytest.raises(MessageError):
        PARSERS[name](json.dumps(message).encode())


def test_the_asyncapi_document_is_one() -> None:
    document = json.loads((DIRECTORY / ASYNCAPI).read_bytes())
    Draft7Validator(json.loads(ASYNCAPI_SCHEMA.read_bytes())).validate(document)


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = json.loads((DIRECTORY / ASYNCAPI).read_bytes())

    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [each for part in value for each in references(part)]
        if not isinstance(value, dict):
            return []
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for part in value.values() for each in references(part)]

    found = references(document)
    assert found
    for reference in found:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            assert step in place, reference
            place = place[step]
