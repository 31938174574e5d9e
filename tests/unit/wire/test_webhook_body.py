from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.wire.webhook import REPORT_NAMES
from edgeagent.wire.webhook_body import BodyTemplate

CHAT = '{"text": "{rule} on {source}: {state} {workflowId}"}'


def test_names_in_a_json_text_stand_for_what_is_reported() -> None:
    template = BodyTemplate(CHAT, REPORT_NAMES)
    values = {"rule": "overheat", "source": "boiler-1", "state": "failed", "workflowId": "overheat-9f2c"}
    assert json.loads(template.render(values)) == {"text": "overheat on boiler-1: failed overheat-9f2c"}


def test_names_are_found_in_every_value_and_nowhere_else() -> None:
    text = '{"{rule}": ["{state}", {"a": "{state}{state}"}, 1, null, true, "{ }", "{{state}}", "{"]}'
    rendered = json.loads(BodyTemplate(text, REPORT_NAMES).render({"state": "{rule}"}))
    assert rendered == {"{rule}": ["{rule}", {"a": "{rule}{rule}"}, 1, None, True, "{ }", "{state}", "{"]}


@given(st.text(max_size=60))
def test_no_value_can_get_out_of_its_string(value: str) -> None:
    rendered = BodyTemplate(CHAT, REPORT_NAMES).render({"source": value.encode("utf-8", "replace").decode()})
    content = json.loads(rendered)
    assert content.keys() == {"text"}
    assert content["text"] == f" on {value.encode('utf-8', 'replace').decode()}:  "


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{state}", "is not JSON"),
        ('{"text": "{rule"', "is not JSON"),
        ('{"text": "{stat}"}', r"unknown name \{stat\}, did you mean \{state\}\?"),
        ('["{a.b}", "{nothing}"]', r"unknown name \{nothing\} \(known: correlation_id"),
        ("[" * 5000, "is not JSON"),
        ('"' + "x" * 20_000 + '"', "at most 16384"),
    ],
)
def test_a_body_that_cannot_work_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        BodyTemplate(text, REPORT_NAMES)
