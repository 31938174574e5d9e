"""The trigger: its identity, and the message that carries it (contract section 3).

One event and one rule are one trigger, for ever: the correlation id is a hash of agent, source, event id and rule,
and the workflow's name is made of it, so that the engine itself refuses to start the same one twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from operator import itemgetter
from typing import Any, cast

import msgspec

from edgeagent.errors import MessageError
from edgeagent.events.event import Record, body, envelope
from edgeagent.lang.gjson.path import text_of
from edgeagent.lang.sjson import Gap, NotKnown
from edgeagent.rules.parameters import Argument, Read, Setting
from edgeagent.rules.ruleset import Rule
from edgeagent.wire import messages
from edgeagent.wire.messages import Trigger

_NAME_PREFIX_CHARS = 30
_SPAN_ID_CHARS = 16
# The numbers of the values that every trigger has; behind them come those that its parameters read.
_CORRELATION, _ATTEMPT, _AGENT, _SOURCE, _EVENT_ID, _EVENT_TIME = range(6)
_READS = 6
_MARK = b"\0"  # around the number of a gap; no JSON has this byte
_encode = msgspec.json.Encoder().encode
_new_hash = blake2b(digest_size=16).copy  # a copy is made faster than a new one


def correlation_id(agent: str, source: str, event_id: str, rule: str) -> str:
    """32 hex digits that name the trigger; also a W3C trace id."""
    hashed = _new_hash()
    hashed.update(f"{agent}\0{source}\0{event_id}\0{rule}".encode())
    return hashed.hexdigest()


def workflow_name(prefix: str, correlation: str) -> str:
    """The workflow's name: at most 63 characters, DNS-1123."""
    return f"{prefix[:_NAME_PREFIX_CHARS].rstrip('-.')}-{correlation}"


def traceparent(event: Record, correlation: str) -> str:
    """The event's own W3C trace context, else one whose trace id is the correlation id."""
    return event.traceparent or f"00-{correlation}-{correlation[:_SPAN_ID_CHARS]}-01"


def render(rule: Rule, event: Record, correlation: str, attempt: int, reply_to: str) -> bytes:
    """The trigger message for an event, from the rule's present text.

    Raises:
        MessageError: a parameter has no value in this event, or no place in the workflow; names the parameter.
    """
    try:
        template = rule.templates[reply_to]
    except KeyError:
        template = rule.templates[reply_to] = _template(rule, reply_to)
    message: bytes = template.render(event, correlation, attempt)
    return message


def _template(rule: Rule, reply_to: str) -> Template | Document:
    try:
        return Template(rule, reply_to, rule.parameters.settings)
    except (NotKnown, MessageError):  # where something goes, or whether it can, shows only when an event is there
        return Document(rule, reply_to)


class Template:
    """A rule's trigger message, encoded once, with gaps for what differs from event to event.

    An event fills the gaps: rendering costs one `%` instead of building and encoding the whole document.
    """

    def __init__(self, rule: Rule, reply_to: str, settings: Sequence[Setting]) -> None:
        """Encode the rule's present text. `reply_to`: where the answer is wanted. `settings`: those to put into it.

        Raises:
            NotKnown: where a setting goes depends on the event.
            MessageError: a setting has no place in the workflow.
        """
        self._rule = rule.name
        self._reads: list[Read] = []
        self._body_only = True  # what they need of an envelope
        self._raw_reads: set[int] = set()  # the numbers of values of any kind
        self._raw: set[int] = set()  # those of them that are put in as they are
        self._inner: set[int] = set()  # the numbers of values that are a part of a text
        workflow = rule.workflow(
            Gap(workflow_name(rule.name_prefix, ""), _CORRELATION, is_text=True),
            {
                messages.LABEL_AGENT: _text(_AGENT),
                messages.LABEL_RULE: rule.name,
                messages.LABEL_CORRELATION_ID: _text(_CORRELATION),
            },
            {
                messages.ANNOTATION_SOURCE: _text(_SOURCE),
                messages.ANNOTATION_EVENT_ID: _text(_EVENT_ID),
                messages.ANNOTATION_EVENT_TIME: _text(_EVENT_TIME),
            },
            [self._value(argument) for argument in rule.parameters.arguments],
        )
        for setting in settings:
            setting.put(workflow, self._value(setting))
        attempt: Any = Gap(_ATTEMPT, is_text=False)
        message = Trigger(
            rule.namespace, workflow, cast("str", _text(_CORRELATION)), cast("str", _text(_AGENT)), attempt, reply_to
        )
        pieces = msgspec.json.Encoder(enc_hook=self._mark).encode(message).split(_MARK)
        # A format of bytes with a place for each value, and the order in which it wants them.
        self._format = b"%b".join(piece.replace(b"%", b"%%") for piece in pieces[::2])
        self._in_order = itemgetter(*map(int, pieces[1::2]))
        for number in self._raw_reads - self._raw:  # prepended or appended, it is a text all the same
            self._reads[number - _READS] = _text_reader(self._reads[number - _READS])

    def render(self, event: Record, correlation: str, attempt: int) -> bytes:
        """The message for an event; see the function `render`."""
        values = [
            correlation.encode(),
            b"%d" % attempt,
            _encode(event.agent),
            _encode(event.source),
            _encode(event.id),
            _encode(event.time),
        ]
        if self._reads:
            try:
                seen = {"body": body(event)} if self._body_only else _seen(event, correlation, self._rule)
                for read in self._reads:
                    values.append(_encode(read(seen)))  # noqa: PERF401  a comprehension takes 0.2 us more
            except RecursionError as exc:
                raise _too_deep() from exc
        for number in self._inner:
            values[number] = values[number][1:-1]
        message: bytes = self._format % self._in_order(values)
        return message

    def _value(self, each: Argument | Setting) -> str | Gap:
        """What stands in the document for a parameter: a constant, or a gap for what is read of the event."""
        if each.read is None:
            return each.constant
        self._reads.append(each.read)
        self._body_only = self._body_only and each.body_only
        number = _READS + len(self._reads) - 1
        if each.use_raw:
            self._raw_reads.add(number)
        return Gap(number, is_text=not each.use_raw)

    def _mark(self, gap: Gap) -> msgspec.Raw:
        """A gap in JSON, its values marked by their numbers. The encoder calls it for each gap that is left."""
        if gap.is_text and (len(gap.parts) > 1 or gap.parts[0] == _CORRELATION):
            self._inner.update(part for part in gap.parts if isinstance(part, int) and part != _CORRELATION)
            marked = b"".join(_marked(part) if isinstance(part, int) else _encode(part)[1:-1] for part in gap.parts)
            return msgspec.Raw(b'"' + marked + b'"')
        [number] = gap.parts
        if not gap.is_text:
            self._raw.add(int(number))
        return msgspec.Raw(_marked(int(number)))


class Document:
    """A rule's trigger message that is built anew for each event: what parameters do depends on the event."""

    def __init__(self, rule: Rule, reply_to: str) -> None:
        self._rule = rule
        self._before = Template(rule, reply_to, ())

    def render(self, event: Record, correlation: str, attempt: int) -> bytes:
        """The message for an event; see the function `render`."""
        try:
            seen = _seen(event, correlation, self._rule.name)
            message: dict[str, Any] = msgspec.json.decode(self._before.render(event, correlation, attempt))
            for setting in self._rule.parameters.settings:
                setting.put(message["workflow"], setting.read(seen) if setting.read else setting.constant)
            return _encode(message)
        except RecursionError as exc:
            raise _too_deep() from exc


def _seen(event: Record, correlation: str, rule: str) -> dict[str, Any]:
    """The envelope as parameters see it."""
    seen = envelope(event)
    seen["correlation_id"] = correlation
    seen["agent"] = event.agent
    seen["rule"] = rule
    return seen


def _too_deep() -> MessageError:
    return MessageError("trigger", "workflow", "the data is nested too deep for a parameter")


def _text_reader(read: Read) -> Read:
    return lambda seen: text_of(read(seen))


def _text(number: int) -> Gap:
    return Gap(number, is_text=True)


def _marked(number: int) -> bytes:
    return b"%b%d%b" % (_MARK, number, _MARK)
