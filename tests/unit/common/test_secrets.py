from __future__ import annotations

import pytest

from edgeagent.common.secrets import is_secrets_name, without_secrets


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mqtts://gw:hunter2@broker.example:8883 refused", "mqtts://***@broker.example:8883 refused"),
        ("sent Authorization: Bearer abc.def-123", "sent Authorization: Bearer ***"),
        ("password=hunter2 next", "password=*** next"),
        ("password = 'hunter 2' next", "password = '***' next"),
        ('{"api_key": "hunter2", "n": 1}', '{"api_key": "***", "n": 1}'),
        ('{"my-token":"hunter2"}', '{"my-token":"***"}'),
        ('text="{\\"secret\\": \\"hunter2\\"}"', 'text="{\\"secret\\": \\"***\\"}"'),
        ("password_file=/etc/edgeagent/uplink.password", "password_file=/etc/edgeagent/uplink.password"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\nx", "***\nx"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA cut", "***"),
        ("a token was refused, and no secret told", "a token was refused, and no secret told"),
    ],
)
def test_what_looks_like_a_secret_is_masked_and_the_rest_stays(text: str, masked: str) -> None:
    assert "hunter" not in without_secrets(text)
    assert without_secrets(text) == masked


def test_a_known_secret_is_masked_wherever_it_stands_and_a_longer_one_first() -> None:
    assert without_secrets("xhunter2y hunter22", {"hunter2", "hunter22"}) == "x***y ***"


def test_a_secret_too_short_to_tell_from_words_is_left() -> None:
    assert without_secrets("abc", {"ab", ""}) == "abc"


@pytest.mark.parametrize(
    ("name", "secret"),
    [("password", True), ("apiKey", True), ("X-Token", True), ("password_file", False), ("username", False)],
)
def test_names_of_secrets(name: str, *, secret: bool) -> None:
    assert is_secrets_name(name) is secret


@pytest.mark.parametrize("word", ["a", "token", "password.", "://", "bearer.", "-----BEGIN "])
def test_a_long_text_is_searched_in_one_go(word: str) -> None:
    # A regular expression that goes back at each character needs minutes for this.
    text = word * (200_000 // len(word))
    assert without_secrets(text) == text
