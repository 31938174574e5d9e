"""Expressions of a rule's filters: govaluate's language, compiled once to closures. There is no `eval`.

    temp > 90 && (state == 'run' || ![test mode])

Operators, each line of one precedence, the loosest first; all group from the left, also `**` and the ternary:

    ,                            (a list; only inside parentheses)
    ?  :  ??
    ||
    &&
    ==  !=  >  >=  <  <=  =~  !~  in
    |  &  ^
    <<  >>
    +  -
    *  /  %
    **
    -  !  ~                      (before a value, a name or a parenthesis; one only)

`a ? b` is b, or null when a is false; `a : b` and `a ?? b` are a, or b when a is null: so `a ? null : b` is b, and
`a ? b : c ? d : e` means `(a ? b : c) ? d : e`. What govaluate refuses is refused. Also refused, with the reason, are
functions and members (`a.b`), empty parentheses, a list without parentheses, anything after a complete expression, a
pattern that comes from data, and what `tokens` and `dates` name.

Sources: https://github.com/Knetic/govaluate, revision 9aa49832a739, the one that Argo Events is built with:
stagePlanner.go (precedence, grouping), lexerState.go (what may follow what), EvaluableExpression.go (short circuits).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from edgeagent.lang.govaluate.operators import BINARY, UNARY, ExpressionError, kind_of, widened
from edgeagent.lang.govaluate.tokens import Token, TokenKind, tokenize
from edgeagent.lang.re2.pattern import compile_pattern

__all__ = ["Expression", "ExpressionError", "compile_expression"]

Expression = Callable[[dict[str, Any]], Any]

MAX_PARENTHESES = 32  # nested
MAX_DEPTH = 64  # nested operators; a chain of && or of || counts as one

_LEVELS: dict[str, int] = {
    sign: level
    for level, signs in enumerate(
        (
            ("?", ":", "??"),
            ("||",),
            ("&&",),
            ("==", "!=", ">", ">=", "<", "<=", "=~", "!~", "in"),
            ("|", "&", "^"),
            ("<<", ">>"),
            ("+", "-"),
            ("*", "/", "%"),
            ("**",),
        )
    )
    for sign in signs
}
_NO_OPERATOR = -1
_TERNARY = _LEVELS["?"]
_BITWISE = _LEVELS["|"]
_MAY_SKIP = frozenset({"&&", "||", "?", ":", "??"})
_SIGNS = frozenset(_LEVELS) | frozenset(UNARY)
_WORDS = {"and": "&&", "or": "||", "not": "!", "is": "=="}
_NOT_CONSTANT: Final = object()


class _Node(NamedTuple):
    """A compiled part of an expression."""

    evaluate: Expression
    depth: int = 0
    constant: Any = _NOT_CONSTANT


def compile_expression(text: str, names: Collection[str]) -> Expression:
    """Compile an expression over the fields `names`.

    The function takes the fields' values by name, as decoded JSON, and returns `None`, a bool, a float, a str or a
    list; a field alone gives its value, an `int` as a float. It raises `ExpressionError` if the expression cannot be
    decided for these values. Its time is bounded by the expression's length and the values' size.

    Raises:
        ValueError: the expression is invalid or exceeds a limit; the text says why and where.
    """
    return _Parser(tokenize(text, _SIGNS), names).whole()


def unknown_fields(text: str, names: Collection[str]) -> list[str]:
    """The names in an expression that are not fields, each once: only an event that needs one of them is an error.

    Args:
        text: an expression that `compile_expression` accepts with these names.
        names: the fields.
    """
    parser = _Parser(tokenize(text, _SIGNS), names)
    parser.whole()
    return list(parser.unknown)


class _Parser:
    """Parses one expression's tokens by precedence climbing."""

    def __init__(self, tokens: list[Token], names: Collection[str]) -> None:
        self._tokens = tokens
        self._names = names
        self._index = 0
        self._parentheses = 0
        self._perhaps = 0  # how many operators enclose this part and may leave it unevaluated
        self.unknown: dict[str, None] = {}

    def whole(self) -> Expression:
        node = self._binary(_TERNARY)
        rest = self._tokens[self._index]
        if rest.kind is not TokenKind.END:
            raise _wrong(rest, _unexpected(rest))
        return node.evaluate

    def _next(self) -> Token:
        token = self._tokens[self._index]
        if token.kind is not TokenKind.END:
            self._index += 1
        return token

    def _takes(self, sign: str) -> bool:
        """Whether the next token is this sign; if so, it is consumed."""
        token = self._tokens[self._index]
        if token.kind is not TokenKind.SIGN or token.value != sign:
            return False
        self._index += 1
        return True

    def _level(self) -> int:
        """The level of the next binary operator."""
        token = self._tokens[self._index]
        return _LEVELS.get(token.value, _NO_OPERATOR) if token.kind is TokenKind.SIGN else _NO_OPERATOR

    def _binary(self, loosest: int) -> _Node:
        """Operands joined by operators of level `loosest` or tighter ones."""
        left = self._operand()
        while (level := self._level()) >= loosest:
            sign = self._next()
            if level >= _BITWISE and self._tokens[self._index].kind is TokenKind.DATE:
                raise _wrong(self._tokens[self._index], f"put a date behind {sign.value} in parentheses")
            right = self._right(sign, level)
            logical = sign.value in {"&&", "||"}
            left = self._chain(sign, [left, right]) if logical else _join(sign, left, right)
        return left

    def _right(self, sign: Token, level: int) -> _Node:
        """The operand after an operator; if the left side decides, it is never evaluated."""
        self._perhaps += sign.value in _MAY_SKIP
        node = self._binary(level + 1)
        self._perhaps -= sign.value in _MAY_SKIP
        return node

    def _chain(self, sign: Token, parts: list[_Node]) -> _Node:
        """The rest of `a && b && …`, or of `a || b || …`, as one node: such chains are long, and must not be deep."""
        while self._takes(sign.value):
            parts.append(self._right(sign, _LEVELS[sign.value]))
        conditions = tuple(part.evaluate for part in parts)
        return _node(sign, _logical(sign.value, conditions), *parts)

    def _operand(self) -> _Node:
        token = self._next()
        if token.kind in {TokenKind.VALUE, TokenKind.TEXT, TokenKind.DATE}:
            if token.kind is TokenKind.DATE and self._level() == _TERNARY:
                raise _wrong(token, f"put a date before {self._next().value} in parentheses")
            return _constant(token.value)
        if token.kind is TokenKind.NAME:
            return self._field(token)
        if token.kind is TokenKind.SIGN and token.value == "(":
            return self._parenthesis(token)
        if token.kind is TokenKind.SIGN and token.value in UNARY:
            return self._prefixed(token)
        raise _wrong(token, f"a value is missing before {_shown(token)}")

    def _field(self, token: Token) -> _Node:
        name: str = token.value
        if self._takes("("):
            raise _wrong(token, f"{name}(…): there are no functions")
        if name not in self._names and self._perhaps:
            self.unknown[name] = None
        elif name not in self._names:
            raise _wrong(token, f"{_unknown(name)}; the fields are: {', '.join(sorted(self._names)) or 'none'}")
        return _Node(_reader(name))

    def _parenthesis(self, opening: Token) -> _Node:
        self._parentheses += 1
        if self._parentheses > MAX_PARENTHESES:
            raise _wrong(opening, f"more than {MAX_PARENTHESES} parentheses within one another")
        if self._takes(")"):
            raise _wrong(opening, "there is nothing in these parentheses")
        members = [self._binary(_TERNARY)]
        while self._takes(","):
            members.append(self._binary(_TERNARY))
        if not self._takes(")"):
            rest = self._tokens[self._index]
            raise _wrong(opening, "the ( has no )") if rest.kind is TokenKind.END else _wrong(rest, _unexpected(rest))
        self._parentheses -= 1
        return members[0] if len(members) == 1 else _list(opening, members)

    def _prefixed(self, sign: Token) -> _Node:
        following = self._tokens[self._index]
        opens = following.kind is TokenKind.SIGN and following.value == "("
        if following.kind not in {TokenKind.VALUE, TokenKind.NAME} and not opens:
            raise _wrong(following, f"{sign.value} stands before a number, a bool, a field or a parenthesis")
        operand = self._operand()
        compute, evaluate = UNARY[sign.value], operand.evaluate
        return _node(sign, lambda values: compute(evaluate(values)), operand)


def _wrong(token: Token, reason: str) -> ValueError:
    return ValueError(f"character {token.position}: {reason}")


def _shown(token: Token) -> str:
    if token.kind is TokenKind.END:
        return "the end"
    return repr(token.value) if isinstance(token.value, str) else "this value"


def _unexpected(token: Token) -> str:
    if token.kind is TokenKind.SIGN and token.value == ",":
        return "a list stands in parentheses"
    if token.kind is TokenKind.SIGN and token.value == ")":
        return "this ) has no ("
    if token.kind is TokenKind.NAME and token.value in _WORDS:
        return f"an operator is missing before {token.value!r}; write {_WORDS[token.value]}"
    return f"an operator is missing before {_shown(token)}"


def _unknown(name: str) -> str:
    if name.lower() in {"null", "nil", "none"}:
        return f"there is no {name}: write the value to take instead, as in field ?? 0"
    return f"there is no field {name!r}"


def _constant(value: Any) -> _Node:
    return _Node(lambda _values: value, constant=value)


def _reader(name: str) -> Expression:
    def read(values: dict[str, Any]) -> Any:
        try:
            return widened(values[name])
        except KeyError:
            raise ExpressionError(f"there is no value for {name}") from None

    return read


def _node(place: Token, evaluate: Expression, *parts: _Node) -> _Node:
    """A node over others. The depth is bounded here, because each level costs a stack frame at every event."""
    depth = 1 + max(part.depth for part in parts)
    if depth > MAX_DEPTH:
        raise _wrong(place, f"more than {MAX_DEPTH} operators within one another")
    return _Node(evaluate, depth)


def _join(sign: Token, left: _Node, right: _Node) -> _Node:
    """A binary operator that is not logical."""
    if sign.value in {"=~", "!~"}:
        return _node(sign, _matching(sign, left.evaluate, right.constant), left)
    if sign.value in {"?", ":", "??"}:
        return _node(sign, _conditional(sign.value, left.evaluate, right.evaluate), left, right)
    if sign.value == "in" and right.constant is not _NOT_CONSTANT and not isinstance(right.constant, list):
        raise _wrong(sign, "in needs a list of two members at least, or a field that is a list")
    compute, first, second = BINARY[sign.value], left.evaluate, right.evaluate
    return _node(sign, lambda values: compute(first(values), second(values)), left, right)


def _logical(sign: str, conditions: tuple[Expression, ...]) -> Expression:
    """`&&` or `||`: what follows the deciding part is not evaluated."""
    decides = sign == "||"

    def evaluate(values: dict[str, Any]) -> bool:
        for condition in conditions:
            value = condition(values)
            if type(value) is not bool:
                raise ExpressionError(f"{sign} needs bools, has {kind_of(value)}")
            if value is decides:
                return decides
        return not decides

    return evaluate


def _conditional(sign: str, left: Expression, right: Expression) -> Expression:
    def if_true(values: dict[str, Any]) -> Any:
        condition = left(values)
        if type(condition) is not bool:
            raise ExpressionError(f"? needs a bool before it, has {kind_of(condition)}")
        return right(values) if condition else None

    def if_null(values: dict[str, Any]) -> Any:
        value = left(values)
        return right(values) if value is None else value

    return if_true if sign == "?" else if_null


def _matching(sign: Token, text: Expression, pattern: Any) -> Expression:
    if not isinstance(pattern, str):
        reason = "stand in the expression as one text: a pattern is never taken from data, and a date is not a pattern"
        raise _wrong(sign, f"what follows {sign.value} must {reason}")
    try:
        found = compile_pattern(pattern)
    except ValueError as exc:
        raise _wrong(sign, str(exc)) from exc
    wanted = sign.value == "=~"

    def evaluate(values: dict[str, Any]) -> bool:
        value = text(values)
        if not isinstance(value, str):
            raise ExpressionError(f"{sign.value} needs a text before it, has {kind_of(value)}")
        return found(value) is wanted

    return evaluate


def _list(opening: Token, members: list[_Node]) -> _Node:
    """A list. If its first member is a list, that is continued and not nested, as in govaluate."""
    evaluates = tuple(member.evaluate for member in members)

    def evaluate(values: dict[str, Any]) -> list[Any]:
        first, *others = (member(values) for member in evaluates)
        return [*first, *others] if isinstance(first, list) else [first, *others]

    if any(member.constant is _NOT_CONSTANT for member in members):
        return _node(opening, evaluate, *members)
    return _constant(evaluate({}))
