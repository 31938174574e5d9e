"""A rule as it is written in the configuration (contract section 8, `[[rule]]`). Pure data; `rules` compiles it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edgeagent.core.units import Duration


class DataFilter(msgspec.Struct, frozen=True):
    """One condition on the event's envelope, with the fields of an Argo Events Sensor's `filters.data`."""

    path: str
    type: Literal["bool", "number", "string"]
    value: list[str]
    comparator: str = ""


class Filters(
    msgspec.Struct,
    frozen=True,
    rename={"data_logical_operator": "dataLogicalOperator"},
):
    """Conditions that an event must meet."""

    data: list[DataFilter] = []
    data_logical_operator: Literal["", "and", "or"] = ""


class RuleSpec(
    msgspec.Struct,
    frozen=True,
    rename={"filters_logical_operator": "filtersLogicalOperator"},
):
    """Which events start which workflow. Exactly one of `template`, `workflow` and `workflow_file` is given."""

    name: str
    namespace: str
    name_prefix: str = ""  # "": the rule's name
    source: str = "*"
    type: str = "*"
    filters: Filters = Filters()
    filters_logical_operator: Literal["", "and", "or"] = ""
    template: str = ""
    cluster_scope: bool = False
    workflow: dict[str, Any] | None = None
    workflow_file: str = ""
    arguments: dict[str, Any] = {}
    priority: Literal["normal", "high"] = "normal"
    order: Literal["first", "strict"] = "first"
    ttl: Duration = Duration(7 * 86400)
    track: bool = True
    enabled: bool = True
