from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgeagent.common.exposition import MetricSample, counter, exposition, gauge, histogram
from edgeagent.common.histogram import Histogram
from tests.fakes.metrics import values_of


@pytest.mark.parametrize(
    "text",
    [
        "overheat",
        "",
        'a"} 1\nforged_total 2',
        "back\\slash",
        "ends with \\",
        "\\n",
        "line\nfeed",
        "carriage\rreturn",
        '\\"',
        "}{=,#",
        "Kälte 🥶",
        "nul\0",
        "\u202eright to left",
    ],
)
def test_a_label_comes_out_of_a_parser_as_it_went_in_whatever_it_is(text: str) -> None:
    families = [gauge("edgeagent_a", "Help.", MetricSample(1, (("rule", text), ("outcome", "x"))))]
    assert values_of(families) == {("edgeagent_a", (("outcome", "x"), ("rule", text))): 1}


def test_bytes_that_were_no_utf_8_are_shown_and_break_nothing() -> None:
    families = [gauge("edgeagent_a", "Help.", MetricSample(1, (("rule", "a\udcff"),)))]
    assert values_of(families) == {("edgeagent_a", (("rule", "a\\udcff"),)): 1}


def test_a_help_text_stays_on_its_line() -> None:
    (family,) = text_string_to_metric_families(exposition([gauge("a", "One\nforged 2 \\", MetricSample(1))]).decode())
    assert (family.documentation, len(family.samples)) == ("One\nforged 2 \\", 1)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "1"), (False, "0"), (7, "7"), (7.0, "7"), (0.25, "0.25"), (1 << 53, "9007199254740992"), (-1, "-1")],
)
def test_a_number_is_shown_without_what_it_does_not_need(value: float, shown: str) -> None:
    assert (
        exposition([counter("a_total", "Help.", MetricSample(value))]).decode().splitlines()[-1] == f"a_total {shown}"
    )


def test_a_family_without_samples_is_named_all_the_same() -> None:
    assert exposition([gauge("a", "Help.")]) == b"# HELP a Help.\n# TYPE a gauge\n"


def test_a_value_counts_in_the_first_bucket_whose_bound_it_does_not_exceed_and_in_all_above() -> None:
    values = Histogram((0.1, 0.5, 1))
    for value in (0.0, 0.1, 0.11, 1.0, 1.01, 100.0):
        values.observe(value)
    found = values_of([histogram("a_seconds", "Help.", values)])
    buckets = {labels[0][1]: value for (name, labels), value in found.items() if name == "a_seconds_bucket"}
    assert buckets == {"0.1": 2, "0.5": 3, "1": 4, "+Inf": 6}
    assert found["a_seconds_count", ()] == 6
    assert found["a_seconds_sum", ()] == pytest.approx(102.22)
