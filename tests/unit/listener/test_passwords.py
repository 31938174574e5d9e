from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.listener.passwords import Secret, line_of, nobodys, read_users, secret_in, secret_of

SALT = b"sixteen bytes of"
SALT64 = base64.b64encode(SALT).decode()
HASH64 = base64.b64encode(bytes(32)).decode()
# RFC 7914, section 12: scrypt("pleaseletmein", "SodiumChloride", N=16384, r=8, p=1), its first 32 bytes.
RFC_HASH = bytes.fromhex("7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2")


def test_the_hash_is_scrypt_as_the_rfc_has_it() -> None:
    line = f"pump:scrypt$16384$8$1${base64.b64encode(b'SodiumChloride').decode()}${base64.b64encode(RFC_HASH).decode()}"
    assert secret_in(line).matches(b"pleaseletmein")
    assert not secret_in(line).matches(b"pleaseletmeout")


def test_what_is_written_is_read_again_and_fits_its_password_only() -> None:
    secret = secret_of("Grüße".encode(), SALT)
    line = line_of("plug-7", secret)
    assert line.startswith("plug-7:scrypt$16384$8$1$")
    assert secret_in(line) == secret
    assert secret.matches("Grüße".encode())
    assert not secret.matches(b"")


def test_an_unknown_user_costs_what_a_known_one_does_and_never_fits() -> None:
    known, unknown = secret_of(b"x", SALT), nobodys(SALT)
    assert (known.cost, known.block, known.parallel) == (unknown.cost, unknown.block, unknown.parallel)
    assert not unknown.matches(b"x")


@pytest.mark.parametrize(
    "line",
    [
        "plug",
        "plug:",
        "plug:secret",
        f"plug:sha512$16384$8$1${SALT64}${HASH64}",
        f"plug:scrypt$16384$8$1${SALT64}",
        f"plug:scrypt$-1$8$1${SALT64}${HASH64}",
        f"plug:scrypt$16385$8$1${SALT64}${HASH64}",
        f"plug:scrypt$2$8$1${SALT64}${HASH64}",
        f"plug:scrypt$32768$8$1${SALT64}${HASH64}",  # 32 MiB
        f"plug:scrypt$16384$9999999$1${SALT64}${HASH64}",
        f"plug:scrypt$16384$8$5${SALT64}${HASH64}",
        f"plug:scrypt$16384$8$1$short${HASH64}",
        f"plug:scrypt$16384$8$1${SALT64}$AAAA",
        f"plug:scrypt$16384$8$1${SALT64}$!!!",
        f":scrypt$16384$8$1${SALT64}${HASH64}",
        f"pl\x1bug:scrypt$16384$8$1${SALT64}${HASH64}",
    ],
)
def test_a_line_that_cannot_be_used_or_would_cost_too_much_is_named_by_its_number(line: str) -> None:
    good = f"pump:scrypt$16384$8$1${SALT64}${HASH64}"
    users, problems = read_users(f"# comment\n{good}\n\n{line}\n")
    assert list(users) == ["pump"]
    assert [problem.partition(":")[0] for problem in problems] == ["line 4"]
    assert "\x1b" not in problems[0]


def test_the_same_name_twice_is_told() -> None:
    good = f"pump:scrypt$16384$8$1${SALT64}${HASH64}"
    assert read_users(f"{good}\n{good}")[1] == ["line 2: pump stands there twice"]


@given(st.text())
def test_no_text_makes_more_of_the_reader_than_problems(text: str) -> None:
    users, problems = read_users(text)
    assert all(isinstance(secret, Secret) for secret in users.values())
    assert all(problem.startswith("line ") for problem in problems)
