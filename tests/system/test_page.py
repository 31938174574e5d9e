"""The status page in a real browser, over a real agent."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.agent import watch
from edgeagent.common.times import rfc3339
from tests.fakes.agent_here import AgentHere
from tests.fakes.browser import PHONE, status_page
from tests.fakes.engine import Engine, success
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import RULE, Agent
from tests.fakes.tcp_proxy import TcpProxy
from tests.waiting import until_answer

HOT = {"temp": 97}
SCRIPT = "<script>alert(1)</script>"
ANY_SOURCE = RULE.replace('source = "boiler-*"\n', "")
NO_BROKER = "mqtt://127.0.0.1:1"


def agent_on(port: int, directory: Path, uplink: str, **options: Any) -> Agent:
    return Agent(directory / "gateway", uplink, listen=f"127.0.0.1:{port}", **options)


def refused(_trigger: dict[str, Any]) -> dict[str, Any]:
    return {"code": 400, "error": "Invalid workflow definition", "detail": "spec.entrypoint is required"}


async def test_what_happens_is_shown_as_it_happens(broker: Mosquitto, tmp_path: Path, free_port: int) -> None:
    async with (
        Engine(broker.url),
        agent_on(free_port, tmp_path, broker.url) as agent,
        status_page(free_port) as seen,
    ):
        await seen.shows("#line", "Uplink connected")
        await seen.shows("#triggers", "No triggers.")
        await agent.triggered("boiler-1", HOT)
        await seen.shows("#triggers tr.one", "boiler-1")
        await seen.shows("#triggers tr.one .state", "triggered")
        await seen.shows("#devices tr", "boiler-1")
        await seen.shows("#account-more", "1 in = 1 settled")
        await seen.shows("#chart-events output", "1 in the last hour")
        await seen.shows("#report .total", "Total")
        await seen.page.click("label:has-text('By source')")
        await seen.shows("#report tr", "boiler-1")
        assert seen.faults == []
        assert {url.split("/")[2] for url in seen.addresses} == {f"127.0.0.1:{free_port}"}


async def test_times_are_utc_wherever_the_browser_is(broker: Mosquitto, tmp_path: Path, free_port: int) -> None:
    async with (
        Engine(broker.url),
        agent_on(free_port, tmp_path, broker.url) as agent,
        status_page(free_port, zone="Asia/Kolkata") as seen,
    ):
        await seen.shows("h1", "times in UTC")
        await agent.triggered("boiler-1", HOT)
        await seen.shows("#triggers tr.one .state", "triggered")
        at, shown = await seen.page.locator("#triggers tr.one time").first.evaluate(
            "time => [time.dateTime, time.textContent]"
        )
        assert shown == at.partition("T")[2][:8]


async def test_a_cut_uplink_shows_at_once(
    broker: Mosquitto,
    tmp_path: Path,
    free_port: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "_LOOK_S", 3600.0)  # the page hears of it because it happens, and in no other way
    async with (
        TcpProxy(broker.port) as proxy,
        AgentHere(tmp_path / "gateway", caplog, proxy.url, listen=f"127.0.0.1:{free_port}"),
        status_page(free_port) as seen,
    ):
        for _ in range(3):
            await seen.shows("#line[data-state=up]", "Uplink connected")
            await proxy.cut()
            await seen.shows("#line[data-state=down]", "Uplink down")
            await seen.shows("#uplink-state", "Down")
            await seen.shows("#attention-list", "Events are kept on disk")
            await proxy.heal()


async def test_a_dead_letter_is_replayed_by_a_click_and_another_discarded(
    broker: Mosquitto, tmp_path: Path, free_port: int
) -> None:
    async with (
        Engine(broker.url, answer=refused) as engine,
        agent_on(free_port, tmp_path, broker.url) as agent,
        status_page(free_port) as seen,
    ):
        first = await agent.triggered("boiler-1", HOT)
        await seen.shows("#dead", "spec.entrypoint is required (400)")
        await agent.triggered("boiler-2", HOT)
        await seen.shows("#dead-count", "2")
        await seen.shows("#attention-list", "2 dead letters wait for your decision.")
        engine.answer = success
        await seen.page.click("#dead li:has-text('boiler-1') button:has-text('Replay')")
        await seen.shows("#dead-count", "1")
        await agent.state(first, "triggered")
        await seen.page.click("#dead li:has-text('boiler-2') button:has-text('Discard')")
        await seen.shows("#discard[open]", "boiler-2")
        await seen.page.click("#discard button:has-text('Keep it')")
        assert (await agent.account(dead=1))["account"]["triggers"]["discarded"] == 0, "it was only asked about"
        await seen.page.click("#dead li:has-text('boiler-2') button:has-text('Discard')")
        await seen.page.click("#discard-yes")
        await agent.account(dead=0, discarded=1)
        await seen.shows("#dead", "None.")
        assert seen.faults == []


# What needs attention, where the agent's figures are these beside what they are.
ATTENTION = """async (more) => {
  const stats = {...await (await fetch("/v1/stats")).json(), ...more};
  (await import("/facts.js")).showFacts(stats);
  return [...document.querySelectorAll("#attention-list li")].map((item) => item.textContent);
}"""


async def test_lost_reports_and_what_rules_could_not_decide_need_attention_for_as_long_as_it_matters(
    broker: Mosquitto, tmp_path: Path, free_port: int
) -> None:
    receiver = {"webhook": "relay.webhook[0]", "receiver": "https://mes", "gone": False, "failures": 0, "pending": 0}
    lost = {**receiver, "lost": 3, "last_error": "it answered 401"}
    healed = {**receiver, "lost": 3, "last_error": ""}
    counts = {"matched": 0, "settled": 0, "dead": 0}
    now, earlier = (rfc3339(round((time.time() - age_s) * 1000)) for age_s in (0, 700))
    failed = {**counts, "last_error": "event 7: `x`", "last_error_at": now}
    rules = {"one": failed, "two": failed, "old": {**counts, "last_error": "event 1: y", "last_error_at": earlier}}
    async with agent_on(free_port, tmp_path, broker.url), status_page(free_port) as seen:
        await seen.shows("#uplink-state", "Connected")
        more = {"webhooks": {"outcomes": {}, "receivers": [lost, healed]}, "rules": rules}
        hooks, undecided = await seen.page.evaluate(ATTENTION, more)
    assert hooks.startswith("relay.webhook[0] (https://mes) refuses reports: it answered 401. 3 reports are lost.")
    assert undecided.startswith("The rules one, two could not be decided at ")
    assert "event 7: x" in undecided


async def test_what_comes_from_outside_is_shown_as_text(broker: Mosquitto, tmp_path: Path, free_port: int) -> None:
    def hostile(_trigger: dict[str, Any]) -> dict[str, Any]:
        return {"code": 400, "error": f"<img src=x onerror=alert(2)>{SCRIPT}"}

    async with (
        Engine(broker.url, answer=hostile),
        agent_on(free_port, tmp_path, broker.url, rules=ANY_SOURCE) as agent,
        status_page(free_port) as seen,
    ):
        dialogs: list[str] = []
        seen.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        await agent.request("POST", "/v1/events", json.dumps({"source": SCRIPT, "data": HOT}).encode())
        await seen.shows("#triggers tr.one .link", SCRIPT)
        await seen.shows("#devices th", SCRIPT)
        await seen.shows("#dead li strong", SCRIPT)
        await seen.shows("#dead li .error", "<img src=x onerror=alert(2)>")
        await seen.page.click("#triggers tr.one .link")
        await seen.shows("#where-body", SCRIPT)
        await seen.page.reload()
        await seen.shows("#triggers tr.one .link", SCRIPT)
        assert await seen.page.locator("body script, body img[src=x]").count() == 0
        assert dialogs == []
        assert seen.faults == [], "not even the policy had to refuse something"


async def test_ten_thousand_triggers_scroll(tmp_path: Path, free_port: int) -> None:
    async with agent_on(free_port, tmp_path, NO_BROKER) as agent:
        for first in range(0, 10_000, 1000):
            names = [f"{number:05}" for number in range(first, first + 1000)]
            events = [{"source": f"boiler-{name}", "id": name, "data": HOT} for name in names]
            await agent.request("POST", "/v1/events", json.dumps(events).encode())
        async with status_page(free_port) as seen:
            await seen.shows("#triggers tr.one .link", "boiler-09999")
            await seen.page.evaluate(
                """async () => {
                    const scroll = document.querySelector("#triggers-scroll");
                    const foot = document.querySelector("#triggers-foot");
                    window.most = 0;
                    while (foot.textContent !== "10,000 triggers") {
                        scroll.scrollTop = scroll.scrollHeight;
                        await new Promise(requestAnimationFrame);
                        window.most = Math.max(window.most, document.querySelectorAll("#triggers tr").length);
                    }
                    scroll.scrollTop = scroll.scrollHeight;
                }"""
            )
            await seen.shows("#triggers tr.one:nth-last-child(2) .link", "boiler-00000")
            assert await seen.page.evaluate("window.most") < 150, "only what can be seen is in the page"
            rows = await seen.page.evaluate("document.querySelector('#triggers').getAttribute('aria-rowcount')")
            assert rows == "10001"
            await seen.page.select_option("#filter [name=state]", "succeeded")
            await seen.shows("#triggers", "No triggers.")
            await seen.page.select_option("#filter [name=state]", "buffered")
            await seen.page.fill("#filter [name=source]", "boiler-04242")
            await seen.shows("#triggers-foot", "1 trigger")
            assert seen.faults == []


async def test_axe_finds_nothing_serious_and_nothing_is_wider_than_a_phone(
    broker: Mosquitto, tmp_path: Path, free_port: int
) -> None:
    async with (
        TcpProxy(broker.port) as proxy,
        Engine(broker.url, answer=refused),
        agent_on(free_port, tmp_path, proxy.url) as agent,
        status_page(free_port) as seen,
    ):
        await agent.triggered("boiler-1", HOT)
        await seen.shows("#dead", "boiler-1")
        await seen.shows("#line", "Uplink connected")
        assert await seen.accessibility_faults() == []
        await proxy.cut()
        await seen.shows("#attention", "The uplink is down")
        await seen.shows("#log", "the connection")
        assert await seen.accessibility_faults() == []
        await seen.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        assert await seen.page.evaluate("document.scrollingElement.scrollWidth") <= PHONE[0]
        await seen.page.click("#triggers tr.one .link")
        await seen.shows("#where-body", "What happened")
        assert await seen.accessibility_faults() == []
        await seen.page.keyboard.press("Escape")
        await seen.page.click("#dead button:has-text('Discard')")
        assert await seen.accessibility_faults() == []


async def test_the_keyboard_alone_leads_to_where_a_trigger_is_and_back(
    broker: Mosquitto, tmp_path: Path, free_port: int
) -> None:
    async with (
        Engine(broker.url),
        agent_on(free_port, tmp_path, broker.url) as agent,
        status_page(free_port) as seen,
    ):
        await agent.triggered("boiler-1", HOT)
        await seen.shows("#triggers tr.one .state", "triggered")
        await seen.page.focus("#triggers-scroll")
        await seen.page.keyboard.press("Tab")
        await seen.page.keyboard.press("Enter")
        await seen.shows("#where-body .steps", "triggered")
        await agent.triggered("boiler-2", HOT)
        await seen.shows("#triggers tr.one .link", "boiler-2")
        await seen.page.keyboard.press("Escape")
        await until_answer(
            lambda: seen.page.evaluate("document.activeElement.textContent"),
            lambda text: text == "boiler-1",
            "the focus back in the row",
        )


async def test_a_token_is_entered_once_and_never_part_of_an_address(tmp_path: Path, free_port: int) -> None:
    token = tmp_path / "token"
    token.write_text("open sesame")
    token.chmod(0o600)
    tables = {"http": f'token_file = "{token}"'}
    async with agent_on(free_port, tmp_path, NO_BROKER, tables=tables) as agent, status_page(free_port) as seen:
        await seen.shows("#unlock:not([hidden])", "Token")
        assert await seen.accessibility_faults() == []
        await seen.page.set_viewport_size({"width": 320, "height": 640})
        right = "document.querySelector('{}').getBoundingClientRect().right"
        button, form = [await seen.page.evaluate(right.format(name)) for name in ("#unlock button", "#unlock")]
        assert button < form
        await seen.page.fill("#token", "open barley")
        await seen.page.keyboard.press("Enter")
        await seen.shows("#unlock-error", "This is not the agent's token.")
        await seen.page.fill("#token", "open sesame")
        await seen.page.keyboard.press("Enter")
        await seen.shows("#agent", "gw-1")
        await agent.triggered("boiler-1", HOT)
        await seen.shows("#triggers tr.one .link", "boiler-1")
        await seen.page.reload()
        await seen.shows("#triggers tr.one .link", "boiler-1")
        assert not [url for url in seen.addresses if "sesame" in url or "barley" in url]
        assert await seen.page.evaluate("localStorage.length + document.cookie.length") == 0


async def test_a_page_whose_agent_is_gone_says_so_and_goes_on_when_it_is_back(tmp_path: Path, free_port: int) -> None:
    async with agent_on(free_port, tmp_path, NO_BROKER) as agent, status_page(free_port) as seen:
        await agent.triggered("boiler-1", HOT)
        await seen.shows("#triggers tr.one .link", "boiler-1")
        await agent.stop()
        await seen.shows("#line[data-state=down]", "No connection to the agent")
        await agent.start()
        await agent.triggered("boiler-2", HOT)
        await seen.shows("#line", "Uplink down")
        await seen.shows("#triggers tr.one .link", "boiler-2")
        assert sorted(await seen.texts("#triggers .link")) == ["boiler-1", "boiler-2"]


async def test_large_data_is_seen_on_its_way_to_the_store(broker: Mosquitto, tmp_path: Path, free_port: int) -> None:
    nobody = "http://127.0.0.1:1"
    agent = agent_on(free_port, tmp_path, broker.url, rules=ANY_SOURCE.replace("filters.data", "# filters"))
    agent.config_file.write_text(f'[artifacts]\nstore = "{nobody}"\n' + agent.config_file.read_text("utf-8"), "utf-8")
    async with Engine(broker.url), agent, status_page(free_port) as seen:
        await agent.request("POST", "/v1/events/cam-1", bytes(100_000), Content_Type="image/jpeg")
        await seen.shows("#uploads li", "gw-1/cam-1/")
        await seen.shows("#uploads li .state[data-kind=warn]", "not taken")
        await seen.shows("#uploads-foot", f"1 trigger waits for 98 KiB on the way to {nobody}")
        await seen.shows("#attention-list", "does not take large data")
        await agent.request("PUT", "/v1/events/cam-1?id=2", bytes(1024), Content_Range=f"bytes 0-1023/{1 << 20}")
        await seen.shows("#uploads-foot", "1 upload from devices not complete: 1.0 KiB of 1.0 MiB came.")
        assert seen.faults == []
