"""The operators of expressions, on `None`, `bool`, `float`, `str`, `list` and `dict` (decoded JSON).

Types are kept apart as in govaluate: `1`, `"1"` and `true` are never equal, and ordering them is an error. Numbers are
float64: division by zero gives an infinity or NaN, as in Go. Bitwise operators go through whole numbers of 64 bits;
where Go's result depends on the processor (out of range, a shift of something negative) the result is an error here.
Source: https://github.com/Knetic/govaluate (evaluationStage.go), revision 9aa49832a739.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

# The longest text that `+` makes; a longer one is a mistake, or an attack on the memory.
MAX_JOINED_CHARACTERS = 1_048_576

Unary = Callable[[Any], Any]
Binary = Callable[[Any, Any], Any]


class ExpressionError(ValueError):
    """An expression cannot be decided for these values. Its text says why."""


def kind_of(value: Any) -> str:
    """The kind of a value, in words."""
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "a bool", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def widened(value: Any) -> Any:
    """A value in govaluate's types: the event's `int`s, of any size, as float64; anything else unchanged."""
    if type(value) is not int:
        return value
    try:
        return float(value)
    except OverflowError:  # more than 308 digits
        return math.inf if value > 0 else -math.inf


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal and of one type, at every depth. Lists may contain the event's own `int`s."""
    if type(left) is type(right) and isinstance(left, (float, str, bool)):
        return bool(left == right)
    waiting: list[tuple[Any, Any]] = [(left, right)]
    while waiting:
        one, other = map(widened, waiting.pop())
        if type(one) is not type(other):
            return False
        if isinstance(one, list):
            if len(one) != len(other):
                return False
            waiting.extend(zip(one, other, strict=True))
        elif isinstance(one, dict):
            if one.keys() != other.keys():
                return False
            waiting.extend((one[key], other[key]) for key in one)
        elif one != other:
            return False
    return True


def _different(left: Any, right: Any) -> bool:
    return not same(left, right)


def _contained(left: Any, right: Any) -> bool:
    if not isinstance(right, list):
        raise ExpressionError(f"in needs a list behind it, has {kind_of(right)}")
    for member in right:
        if isinstance(left, (list, dict)) and type(member) is type(left):
            raise ExpressionError(f"in cannot look for {kind_of(left)} in a list that holds another")
        if same(left, member):
            return True
    return False


def _ordering(sign: str, compare: Callable[[Any, Any], bool]) -> Binary:
    def ordered(left: Any, right: Any) -> bool:
        if type(left) is type(right) and isinstance(left, (float, str)):
            return compare(left, right)
        raise ExpressionError(f"{sign} needs two numbers or two texts, has {kind_of(left)} and {kind_of(right)}")

    return ordered


def _arithmetic(sign: str, compute: Callable[[float, float], float]) -> Binary:
    def computed(left: Any, right: Any) -> float:
        if type(left) is float and type(right) is float:
            return compute(left, right)
        raise ExpressionError(f"{sign} needs two numbers, has {kind_of(left)} and {kind_of(right)}")

    return computed


def _plus(left: Any, right: Any) -> Any:
    """The sum of two numbers; if either side is a text, the two joined as text."""
    if type(left) is float and type(right) is float:
        return left + right
    if not isinstance(left, str) and not isinstance(right, str):
        raise ExpressionError(f"+ needs two numbers, or a text, has {kind_of(left)} and {kind_of(right)}")
    joined = _text_of(left) + _text_of(right)
    if len(joined) > MAX_JOINED_CHARACTERS:
        raise ExpressionError(f"+ would make a text of more than {MAX_JOINED_CHARACTERS} characters")
    return joined


def _text_of(value: Any) -> str:
    """A value's text, as Go's `%v`."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return go_number(value)
    raise ExpressionError(f"+ cannot join a text and {kind_of(value)}")


def go_number(value: float) -> str:
    """A number as Go's `%v` writes it: `73`, `0.5`, `-0`, from a million on `1e+06`, below 0.0001 `1e-05`, `+Inf`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    decimal = Decimal(repr(value)).normalize()
    exponent = decimal.adjusted()
    if -5 < exponent < 6:  # noqa: PLR2004 - the bounds of Go's %g
        return format(decimal, "f")
    sign, digits, _ = decimal.as_tuple()
    fraction = "".join(map(str, digits[1:]))
    return f"{'-' if sign else ''}{digits[0]}{'.' if fraction else ''}{fraction}e{exponent:+03d}"


def _divide(left: float, right: float) -> float:
    if right:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _remainder(left: float, right: float) -> float:
    try:
        return math.fmod(left, right)
    except ValueError:  # an infinity, or a division by zero
        return math.nan


def _power(base: float, exponent: float) -> float:
    """Power as in Go's math.Pow and C's pow, which give a result where Python raises."""
    odd = exponent % 2 == 1
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and odd else math.inf
    except ValueError:
        if base == 0:
            return math.copysign(math.inf, base) if odd else math.inf
        return math.nan


def _whole(sign: str, value: float, least: int, beyond: int) -> int:
    if not least - 1 < value < beyond:  # the fraction is cut off
        raise ExpressionError(f"{sign} cannot take {go_number(value)}: it is not a whole number of 64 bits")
    return int(value)


def _bitwise(sign: str, compute: Callable[[int, int], int]) -> Binary:
    def computed(left: float, right: float) -> float:
        return float(compute(_whole(sign, left, -(2**63), 2**63), _whole(sign, right, -(2**63), 2**63)))

    return _arithmetic(sign, computed)


def _shift(sign: str, compute: Callable[[int, int], int]) -> Binary:
    def computed(left: float, right: float) -> float:
        places = min(_whole(sign, right, 0, 2**64), 64)
        return float(compute(_whole(sign, left, 0, 2**64), places) % 2**64)

    return _arithmetic(sign, computed)


def _negative(value: Any) -> float:
    if type(value) is not float:
        raise ExpressionError(f"- needs a number, has {kind_of(value)}")
    return -value


def _inverted(value: Any) -> bool:
    if type(value) is not bool:
        raise ExpressionError(f"! needs a bool, has {kind_of(value)}")
    return not value


def _bits_inverted(value: Any) -> float:
    if type(value) is not float:
        raise ExpressionError(f"~ needs a number, has {kind_of(value)}")
    return float(~_whole("~", value, -(2**63), 2**63))


UNARY: dict[str, Unary] = {"-": _negative, "!": _inverted, "~": _bits_inverted}
BINARY: dict[str, Binary] = {
    "==": same,
    "!=": _different,
    ">": _ordering(">", operator.gt),
    ">=": _ordering(">=", operator.ge),
    "<": _ordering("<", operator.lt),
    "<=": _ordering("<=", operator.le),
    "in": _contained,
    "|": _bitwise("|", operator.or_),
    "&": _bitwise("&", operator.and_),
    "^": _bitwise("^", operator.xor),
    "<<": _shift("<<", operator.lshift),
    ">>": _shift(">>", operator.rshift),
    "+": _plus,
    "-": _arithmetic("-", operator.sub),
    "*": _arithmetic("*", operator.mul),
    "/": _arithmetic("/", _divide),
    "%": _arithmetic("%", _remainder),
    "**": _arithmetic("**", _power),
}
