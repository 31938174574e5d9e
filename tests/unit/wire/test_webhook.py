from __future__ import annotations

import base64

import pytest

from edgeagent.wire.webhook import (
    EventAttributes,
    event_headers,
    message_id,
    parse_secrets,
    receiver,
    receiver_names,
    signature_headers,
)

# The vector of the Standard Webhooks project's own libraries.
SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIME_S = 1_614_265_330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_signature_is_that_of_standard_webhooks() -> None:
    headers = signature_headers(parse_secrets(SECRET + b"\n"), MESSAGE, TIME_S, BODY)
    assert headers == [
        ("webhook-id", MESSAGE),
        ("webhook-timestamp", str(TIME_S)),
        ("webhook-signature", SIGNATURE),
    ]


def test_while_a_secret_is_replaced_both_sign() -> None:
    other = b"whsec_" + base64.b64encode(bytes(32))
    headers = dict(signature_headers(parse_secrets(SECRET + b"\r\n\r\n" + other), MESSAGE, TIME_S, BODY))
    first, second = headers["webhook-signature"].split(" ")
    assert first == SIGNATURE
    assert second == "v1,woH/1mJtZGSMCmpFTxRYbStS24eLLD/oXIYr4PYyZ7g="
    assert dict(signature_headers([], MESSAGE, TIME_S, BODY)) == {
        "webhook-id": MESSAGE,
        "webhook-timestamp": str(TIME_S),
    }


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"hunter2", b"whsec_", b"whsec_!!!!", b"whsec_c2hvcnQ=", b"whsec_" + b"A" * 200, SECRET + b"\nx"],
)
def test_what_is_no_secret_is_refused_without_being_told(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"secret|whsec_") as caught:
        parse_secrets(text)
    assert "hunter2" not in str(caught.value)
    assert "c2hvcnQ" not in str(caught.value)


def test_an_event_is_described_by_headers_of_cloudevents() -> None:
    event = EventAttributes(
        "1f", "io.edgeagent.trigger.failed", "/edgeagent/agents/gw", 'Küche "1" 50%', "2026-03-20T11:00:00Z"
    )
    assert event_headers(event) == [
        ("ce-id", "1f"),
        ("ce-type", "io.edgeagent.trigger.failed"),
        ("ce-source", "/edgeagent/agents/gw"),
        ("ce-subject", "K%C3%BCche%20%221%22%2050%25"),
        ("ce-time", "2026-03-20T11:00:00Z"),
        ("ce-specversion", "1.0"),
    ]
    assert "ce-time" not in dict(event_headers(event._replace(time="")))


def test_a_header_cannot_be_ended_by_what_a_device_is_called() -> None:
    event = EventAttributes("1f", "t", "s", "a\r\nx-evil: 1\0\x7f", "")
    assert dict(event_headers(event))["ce-subject"] == "a%0D%0Ax-evil:%201%00%7F"


def test_the_id_is_the_payloads_so_that_a_repetition_is_known_again() -> None:
    assert message_id(b"{}") == message_id(b"{}") == "2afb9b83f9314e5d029766197f539792"
    assert message_id(b"{}") != message_id(b"[]")


def test_where_requests_go() -> None:
    found = receiver("https://Hooks.example:8443/a/b?token=x")
    assert (found.host, found.port, found.target) == ("hooks.example", 8443, "/a/b?token=x")
    assert found.authority == "hooks.example:8443"
    assert found.shown == "https://hooks.example:8443/…"
    assert receiver("http://plc").shown == "http://plc/"
    assert receiver("http://[fd00::1]/x").authority == "[fd00::1]"


@pytest.mark.parametrize(
    "url",
    [
        *("", "hooks.example", "ftp://host/", "https://", "https:///x", "http://host:0/", "http://host:99999/"),
        *(
            "http://[::1/",
            "http://user:geheim@host/",
            "http://host/#x",
            "http://host/a b",
            "http://hüts/",
            "http://h\n/",
        ),
        "http://[fe80::1%25eth0]/",
        "http://host/" + "x" * 3000,
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|address|characters") as caught:
        receiver(url)
    assert "geheim" not in str(caught.value)


def test_a_receiver_keeps_its_name_when_others_come_and_go() -> None:
    first, second = receiver_names(["http://a/", "http://b/"])
    assert receiver_names(["http://b/", "http://a/", "http://b/"])[:2] == [second, first]
    assert len(set(receiver_names(["http://b/"] * 3))) == 3
