from __future__ import annotations

import pytest

from edgeagent.common.trace_context import (
    TraceContext,
    is_sampled,
    own_context,
    read_traceparent,
    span_id,
    trace_context,
    valid_traceparent,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
CORRELATION = "9f2c0d1e2f3a4b5c6d7e8f9011223344"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        TRACEPARENT.upper(),
        TRACEPARENT + " ",
        TRACEPARENT + "\n",
        TRACEPARENT + "-00",  # version 00 has four fields
        TRACEPARENT.replace("00-", "ff-", 1),
        TRACEPARENT.replace("-01", "-1"),
        TRACEPARENT.replace("-01", "-zz"),
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
        None,
        7,
        {"traceparent": TRACEPARENT},
    ],
)
def test_what_is_no_traceparent_is_ignored(text: object) -> None:
    assert valid_traceparent(text) is None
    assert trace_context(text) is None


def test_a_traceparent_is_kept_as_it_is() -> None:
    assert valid_traceparent(TRACEPARENT) == TRACEPARENT
    assert trace_context(TRACEPARENT) == TraceContext(TRACE, SPAN)
    assert trace_context(TRACEPARENT[:-2] + "02") == TraceContext(TRACE, SPAN, sampled=False)
    assert trace_context(TRACEPARENT[:-2] + "ff") == TraceContext(TRACE, SPAN)
    assert str(trace_context(TRACEPARENT)) == TRACEPARENT


def test_one_of_a_later_version_is_read_by_the_fields_that_are_known() -> None:
    assert valid_traceparent(f"cc-{TRACE}-{SPAN}-01-what.will.be") == TRACEPARENT
    assert valid_traceparent(f"cc-{TRACE}-{SPAN}-01") == TRACEPARENT
    assert valid_traceparent(f"cc-{TRACE}-{SPAN}-01.what") is None


def test_the_first_that_is_valid_counts_and_a_malformed_one_is_noticed() -> None:
    assert read_traceparent(None, "bad", TRACEPARENT) == TRACEPARENT
    assert read_traceparent(None, "bad") == ""
    assert read_traceparent(None, None) is None


def test_the_trace_of_a_trigger_is_its_correlation_id() -> None:
    assert str(own_context(CORRELATION)) == f"00-{CORRELATION}-{CORRELATION[:16]}-01"
    assert own_context(CORRELATION, sampled=False).sampled is False
    foreign = own_context("order-17")
    assert valid_traceparent(str(foreign)) == str(foreign)
    assert foreign == own_context("order-17") != own_context("order-18")
    zeros = own_context("0" * 32)
    assert valid_traceparent(str(zeros)) == str(zeros), "no id may be zero"


def test_spans_of_a_trigger_have_ids_of_their_own_that_stay() -> None:
    names = ("publish", "answer", "workflow")
    ids = [span_id(CORRELATION, name) for name in names]
    assert ids == [span_id(CORRELATION, name) for name in names]
    assert len({*ids, span_id(CORRELATION[::-1], "publish"), CORRELATION[:16]}) == len(names) + 2
    assert valid_traceparent(str(TraceContext(TRACE, ids[0]))) is not None


def test_the_share_of_traces_that_are_sampled_is_the_ratio_and_a_trace_is_always_judged_alike() -> None:
    traces = [own_context(f"order-{number}").trace_id for number in range(2000)]
    assert all(is_sampled(trace, 1.0) for trace in traces)
    assert not any(is_sampled(trace, 0.0) for trace in traces)
    tenth = [trace for trace in traces if is_sampled(trace, 0.1)]
    assert 130 < len(tenth) < 270
    assert all(is_sampled(trace, 0.2) for trace in tenth)
