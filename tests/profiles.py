"""How many examples property tests draw: a few in `make check`, more in `make test`, many in `make soak`.

The profile is pytest's option `--hypothesis-profile`, `quick` by default. Examples are drawn at random each time; a
failure prints the blob that draws the same again (`@reproduce_failure`). No example has a deadline, and no property is
refused because it is slow: both would be about the machine.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

BRIEF, QUICK, SOAK = "brief", "quick", "soak"
_BRIEF_EXAMPLES, _EXAMPLES = 20, 100
_SOAK_FACTOR = 30


def register() -> None:
    """Make the profiles known, and load the quick one; pytest's option loads another one later."""
    settings.register_profile(
        QUICK, max_examples=_EXAMPLES, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.register_profile(BRIEF, settings.get_profile(QUICK), max_examples=_BRIEF_EXAMPLES)
    settings.register_profile(SOAK, settings.get_profile(QUICK), max_examples=_EXAMPLES * _SOAK_FACTOR)
    settings.load_profile(QUICK)


def examples(count: int) -> int:
    """How many examples a property draws that costs much less or more than others; `count`: in the quick profile."""
    return max(1, count * settings().max_examples // _EXAMPLES)
