"""A workflow's output parameters on their way back to the device: which are asked for, and how large they may be. Pure.

A rule names them (`outputs`). The names travel in an annotation of the workflow, so that every dispatcher knows them, a
restarted one too, from nothing but the workflow. The values come back with the final status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

MAX_OUTPUTS: Final = 16
MAX_OUTPUT_NAME_CHARS: Final = 63
MAX_OUTPUT_BYTES: Final = 4 << 10  # of one value, in UTF-8
MAX_OUTPUTS_BYTES: Final = 8 << 10  # of all names and values: they are in each report, and in the ledger
_SEPARATOR = ","  # no parameter has it in its name


def outputs_asked(names: Sequence[str]) -> str:
    """The annotation that asks for these output parameters."""
    return _SEPARATOR.join(names)


def names_asked(annotation: str) -> list[str]:
    """The output parameters that an annotation asks for, in its order; what breaks a bound is passed over."""
    names = dict.fromkeys(name for name in annotation.split(_SEPARATOR, MAX_OUTPUTS)[:MAX_OUTPUTS] if name)
    return [name for name in names if len(name) <= MAX_OUTPUT_NAME_CHARS]


def bounded_outputs(values: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The outputs that keep every bound, in the order given. The others are left out: half a url is worth nothing."""
    kept: dict[str, str] = {}
    left_bytes = MAX_OUTPUTS_BYTES
    for name, value in values:
        # A lone surrogate, which JSON can carry, is no text.
        size = len(value.encode("utf-8", "replace"))
        needed = size + len(name.encode("utf-8", "replace"))
        fits = 1 <= len(name) <= MAX_OUTPUT_NAME_CHARS and size <= MAX_OUTPUT_BYTES and needed <= left_bytes
        if fits and len(kept) < MAX_OUTPUTS and name not in kept:
            kept[name] = value
            left_bytes -= needed
    return kept
