"""A rule as written in the configuration (contract section 8, `[[rule]]`). Pure data; `ruleset` compiles it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from edgeagent.common.units import Duration

MAX_WINDOW_COUNT = 1000  # events in one trigger
MAX_RATE_COUNT = 1000  # triggers in the time of a `rate`, each of which is remembered

# A record on disk counts the triggers of its event with 16 bits (`outbox.frame.MAX_COUNT`).
MAX_RULES = 0xFFFF


class DataFilter(msgspec.Struct, frozen=True):
    """One condition on the event's envelope, with the fields of an Argo Events Sensor's `filters.data`.

    `refused`, here and below: keys of a Sensor that this program knows but does not support, with the reason.
    """

    refused: ClassVar[dict[str, str]] = {
        "template": "is not supported: no program runs here; compare the value as it is, or use exprs"
    }

    path: str
    type: Literal["bool", "number", "string"]
    value: list[str]
    comparator: str = ""


class ExprField(msgspec.Struct, frozen=True):
    """A value of the event, and its name in an expression."""

    path: str
    name: str


class ExprFilter(msgspec.Struct, frozen=True):
    """One expression over values of the event's envelope, as in a Sensor's `filters.exprs`."""

    expr: str
    fields: list[ExprField]


class ContextFilter(msgspec.Struct, frozen=True):
    """Attributes that the event must have, exactly; "": any. As in a Sensor's `filters.context`."""

    refused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("id", "time", "specversion"), "is ignored by Argo Events in a context filter: leave it out"
    )

    type: str = ""
    subject: str = ""
    source: str = ""
    datacontenttype: str = ""


class TimeFilter(msgspec.Struct, frozen=True):
    """A period of the day, "HH:MM:SS", in UTC or in a time zone. As in a Sensor's `filters.time`."""

    start: str
    stop: str
    timezone: str = ""


class Filters(
    msgspec.Struct,
    frozen=True,
    rename={"data_logical_operator": "dataLogicalOperator", "expr_logical_operator": "exprLogicalOperator"},
):
    """Conditions that an event must meet, with the fields of a Sensor's `filters`.

    An empty list is not the same as no list: joined by "or" it decides (`rules.filters`).
    """

    refused: ClassVar[dict[str, str]] = {
        "script": "is not supported: no program runs here; write it as exprs (docs/expressions.md)"
    }

    data: list[DataFilter] | None = None
    data_logical_operator: Literal["", "and", "or"] = ""
    exprs: list[ExprFilter] | None = None
    expr_logical_operator: Literal["", "and", "or"] = ""
    context: ContextFilter | None = None
    time: TimeFilter | None = None


class ParameterSource(
    msgspec.Struct,
    frozen=True,
    rename={
        "dependency_name": "dependencyName",
        "data_key": "dataKey",
        "context_key": "contextKey",
        "use_raw_data": "useRawData",
    },
):
    """Where a parameter's value comes from, with the fields of an Argo Events Sensor.

    `dependency_name` is ignored: there is one event.
    """

    refused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("dataTemplate", "contextTemplate"), "is not supported: no program runs here; name a value with dataKey"
    )

    dependency_name: str = ""
    data_key: str = ""
    context_key: str = ""
    value: str | None = None
    use_raw_data: bool = False


class ParameterSpec(msgspec.Struct, frozen=True):
    """A value of the event and its place in the workflow, with the fields of an Argo Events Sensor's `parameters`."""

    src: ParameterSource
    dest: str
    operation: Literal["", "overwrite", "prepend", "append"] = ""


class Window(msgspec.Struct, frozen=True):
    """The window of a rule, which makes one trigger of many events.

    It closes `time` after its first event, or with `count` events. `by`: "source" puts the events of one source
    together, "rule" all events that the rule matched.
    """

    time: Duration | None = None
    count: int = MAX_WINDOW_COUNT
    by: Literal["source", "rule"] = "source"


class Rate(msgspec.Struct, frozen=True):
    """How many triggers of a rule, of all its sources together, are first published within any `time`.

    Those beyond `count` wait.
    """

    count: int = 0
    time: Duration | None = None


class RuleSpec(
    msgspec.Struct,
    frozen=True,
    rename={"filters_logical_operator": "filtersLogicalOperator"},
):
    """A rule: these events start this workflow. Exactly one of `template`, `workflow`, `workflow_file` is given."""

    name: str
    namespace: str
    name_prefix: str = ""  # "": the rule's name
    source: str = "*"
    type: str = "*"
    filters: Filters | None = None
    filters_logical_operator: Literal["", "and", "or"] = ""
    template: str = ""
    cluster_scope: bool = False
    workflow: dict[str, Any] | None = None
    workflow_file: str = ""
    labels: dict[str, str] = {}
    outputs: tuple[str, ...] = ()  # output parameters of the workflow that come back with its final status
    arguments: dict[str, Any] = {}
    parameters: list[ParameterSpec] = []
    priority: Literal["normal", "high"] = "normal"
    order: Literal["first", "strict"] = "first"
    window: Window | None = None
    throttle: Duration | None = None
    rearm: Filters | None = None
    coalesce: Literal["", "latest"] = ""
    rate: Rate | None = None
    on_missing: Literal["dead", "refuse"] = "dead"  # if a parameter has no value: a dead letter, or refuse the event
    ttl: Duration = Duration(7 * 86400)
    track: bool = True
    enabled: bool = True
