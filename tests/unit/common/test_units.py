from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.common.units import Duration, Size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("500ms", 0.5),
        ("30s", 30),
        ("1.5h", 5400),
        ("10m", 600),
        ("7d", 604_800),
        (30, 30),
        (0.25, 0.25),
        (0, 0),
        (100 * 365 * 86400, 3_153_600_000),
    ],
)
def test_a_duration_is_in_seconds(text: object, seconds: float) -> None:
    assert Duration.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "30",
        "30 s",
        "s",
        "-1s",
        "1e3s",
        ".5s",
        "1.s",
        "1w",
        "1S",
        "1h30m",
        "30s\n",
        "\u0661s",
        "inf",
        "nans",
        -1,
        -0.5,
        float("inf"),
        float("nan"),
        True,
        None,
        [],
        {},
        b"30s",
    ],
)
def test_what_is_no_duration_is_refused_and_the_error_shows_how_to_write_one(value: object) -> None:
    with pytest.raises(ValueError, match=r'is not a duration: write "30s"'):
        Duration.parse(value)


@pytest.mark.parametrize("value", ["36501d", "9" * 400 + "d", 10**400, 1e300])
def test_a_duration_that_no_clock_can_add_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        Duration.parse(value)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0B", 0),
        ("1B", 1),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("64KiB", 65_536),
        ("3MB", 3_000_000),
        ("256MiB", 268_435_456),
        ("2GB", 2_000_000_000),
        ("2GiB", 2_147_483_648),
        (10_000, 10_000),
        (0, 0),
        ((1 << 63) - 1, (1 << 63) - 1),
    ],
)
def test_a_size_is_in_bytes(text: object, size_bytes: int) -> None:
    assert Size.parse(text) == size_bytes


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1",
        "1.5MiB",
        "1 MiB",
        "1mb",
        "1K",
        "1KB",
        "-1B",
        "MiB",
        "1MiB\n",
        "\u0661B",
        -1,
        1.5,
        True,
        None,
        [],
        b"1B",
        1 << 63,
        "9" * 30 + "GiB",
        "9" * 5000 + "B",
    ],
)
def test_what_is_no_size_is_refused_and_the_error_shows_how_to_write_one(value: object) -> None:
    with pytest.raises(ValueError, match=r'is not a size: write "64KiB"'):
        Size.parse(value)


@given(st.integers(0, 100_000), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]))
def test_every_whole_number_with_a_unit_is_read(number: int, unit: tuple[str, float]) -> None:
    text, seconds = unit
    if number * seconds <= 100 * 365 * 86400:
        assert Duration.parse(f"{number}{text}") == pytest.approx(number * seconds)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans()))
def test_whatever_is_written_is_read_within_bounds_or_refused_with_a_value_error(value: object) -> None:
    for kind, most in ((Duration, 100 * 365 * 86400), (Size, (1 << 63) - 1)):
        try:
            read = kind.parse(value)
        except ValueError:
            continue
        assert type(read) is kind
        assert 0 <= read <= most
