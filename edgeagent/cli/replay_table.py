"""The results of a rehearsal: a table and examples for a person, a document for a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgeagent.common.foreign import escaped
from edgeagent.common.plural import counted
from edgeagent.common.spans import span
from edgeagent.rehearsal.judge import Outcome, Seen
from edgeagent.rehearsal.rehearsal import Comparison, Examples, Rehearsal, RuleChanges, RulesTally
from edgeagent.rehearsal.waits import RateWaits

_MAX_DATA_CHARS = 60
_ALONG = ", FIRST TO LAST"
_SOURCES_SHOWN = 3
# Outcomes of rules with limits (docs/field.md): a column in the table if one of the rules had it.
_FIELD = (Outcome.THROTTLED, Outcome.DISARMED, Outcome.GATHERED)


def lines(name: str, rehearsal: Rehearsal) -> Iterator[str]:
    """The results as lines for a person."""
    span = f", {' to '.join(rehearsal.span)}" if rehearsal.span[0] else ""
    yield escaped(f"{name}: {counted(rehearsal.events, 'event')} from {_sources(rehearsal)}{span}")
    if rehearsal.duplicates:
        yield f"{counted(rehearsal.duplicates, 'duplicate')} left out: the same source and id came before"
    if rehearsal.unusable:
        yield f"{rehearsal.unusable} unusable, left out:"
        for where, reason in rehearsal.faults:
            yield escaped(f"  {where}: {reason}")
        if rehearsal.unusable > len(rehearsal.faults):
            yield f"  and {rehearsal.unusable - len(rehearsal.faults)} more"
    yield ""
    yield from _tally(rehearsal.tally) if rehearsal.comparison is None else _comparison(rehearsal.comparison)
    yield from _waits(rehearsal.waits)


def document(name: str, rehearsal: Rehearsal) -> dict[str, Any]:
    """The results as a document for a program."""
    result: dict[str, Any] = {
        "from": name,
        "events": rehearsal.events,
        "duplicates": rehearsal.duplicates,
        "unusable": rehearsal.unusable,
        "faults": [{"where": where, "reason": reason} for where, reason in rehearsal.faults],
    }
    if rehearsal.waits:
        result["waits"] = {
            rule: {
                "triggers": waits.triggers,
                "waited": waits.waited,
                "expired": waits.expired,
                "longest_s": waits.longest_ms / 1000,
            }
            for rule, waits in rehearsal.waits.items()
        }
    if rehearsal.comparison is None:
        result["unwanted"] = rehearsal.tally.unwanted
        result["rules"] = [
            {
                "rule": rule,
                "events": tally.events,
                "matched": tally.matched,
                "triggered": tally.outcomes[Outcome.TRIGGERED],
                **{str(outcome): tally.outcomes[outcome] for outcome in _FIELD},
                "errors": tally.outcomes[Outcome.FAILED],
                "examples": {str(outcome): _documents(tally.examples[outcome]) for outcome in Outcome},
            }
            for rule, tally in rehearsal.tally.rules.items()
        ]
    else:
        result["rules"] = [
            {
                "rule": rule,
                "events": changes.events,
                "before": changes.before,
                "now": changes.now,
                "changed": changes.counts,
                "examples": {kind: _documents(examples) for kind, examples in changes.examples.items()},
            }
            for rule, changes in rehearsal.comparison.rules.items()
            if changes.changed
        ]
    return result


def _tally(tally: RulesTally) -> Iterator[str]:
    width = _width(tally.rules)
    field = [outcome for outcome in _FIELD if any(each.outcomes[outcome] for each in tally.rules.values())]
    titles = "".join(f"  {outcome.upper():>9}" for outcome in field)
    yield f"{'RULE':{width}}  {'EVENTS':>8}  {'MATCHED':>8}{titles}  {'TRIGGERED':>9}  {'ERRORS':>8}  TRIGGERED{_ALONG}"
    for rule, each in tally.rules.items():
        counts = "".join(f"  {each.outcomes[outcome]:9,}" for outcome in (*field, Outcome.TRIGGERED))
        errors = each.outcomes[Outcome.FAILED]
        yield f"{rule:{width}}  {each.events:8,}  {each.matched:8,}{counts}  {errors:8,}  {each.strip}".rstrip()
    yield f"{counted(tally.unwanted, 'event')} matched no rule"
    for rule, each in tally.rules.items():
        yield ""
        yield rule
        if not each.events:
            yield "  no event has its source and type"
        for outcome in (Outcome.TRIGGERED, Outcome.THROTTLED, Outcome.DISARMED, Outcome.FAILED):
            yield from _examples(outcome, each.examples[outcome])
        if not each.outcomes[Outcome.TRIGGERED]:
            yield from _examples(Outcome.PASSED, each.examples[Outcome.PASSED])


def _waits(all_waits: Mapping[str, RateWaits]) -> Iterator[str]:
    """What the rates would have done, if the uplink had never been away."""
    if all_waits:
        yield ""
    for rule, waits in all_waits.items():
        expired = f", {waits.expired:,} would expire" if waits.expired else ""
        longest = f", the longest about {span(waits.longest_ms / 1000)}" if waits.waited else ""
        some = f"{waits.waited:,} of {counted(waits.triggers, 'trigger')}"
        yield f"{rule}: {some} would wait for its rate{longest}{expired}"


def _comparison(comparison: Comparison) -> Iterator[str]:
    differing = {rule: changes for rule, changes in comparison.rules.items() if changes.changed}
    same = [rule for rule in comparison.rules if rule not in differing]
    if differing:
        width = _width(differing)
        yield f"{'RULE':{width}}  {'EVENTS':>8}  {'BEFORE':>8}  {'NOW':>8}  {'CHANGED':>8}  CHANGED{_ALONG}"
        for rule, each in differing.items():
            yield f"{rule:{width}}  {each.events:8,}  {each.before:8,}  {each.now:8,}  {each.changed:8,}  {each.strip}"
    if same:
        yield f"as before: {', '.join(same)}"
    for rule, each in differing.items():
        yield ""
        yield rule
        yield from _kinds(each)


def _kinds(changes: RuleChanges) -> Iterator[str]:
    for kind, count in changes.counts.items():
        yield f"  {kind}: {count}"
        yield from (f"    {_example(seen)}" for seen in changes.examples[kind].seen)


def _examples(outcome: Outcome, examples: Examples) -> Iterator[str]:
    yield from (f"  {outcome:10}  {_example(seen)}" for seen in examples.seen)


def _example(seen: Seen) -> str:
    """One line: the position, the event, and the reason."""
    event = seen.event
    data = _data(seen)
    if len(data) > _MAX_DATA_CHARS:
        data = data[: _MAX_DATA_CHARS - 1] + "…"
    return escaped(f"{seen.where}  {event.time}  {event.source}  {data}" + (f"  {seen.reason}" if seen.reason else ""))


def _documents(examples: Examples) -> list[dict[str, str]]:
    return [
        {
            "where": seen.where,
            "source": seen.event.source,
            "id": seen.event.id,
            "time": seen.event.time,
            "data": _data(seen),
            "reason": seen.reason,
        }
        for seen in examples.seen
    ]


def _data(seen: Seen) -> str:
    event = seen.event
    return event.data.decode("utf-8", "replace") if event.is_json else f"{len(event.data)} bytes that are not JSON"


def _sources(rehearsal: Rehearsal) -> str:
    shown = rehearsal.sources[:_SOURCES_SHOWN]
    return ", ".join(shown) + (", …" if len(rehearsal.sources) > len(shown) else "")


def _width(rules: dict[str, Any]) -> int:
    return max([4, *map(len, rules)])
