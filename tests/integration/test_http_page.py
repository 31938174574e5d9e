from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeagent.httpapi.page import PAGE_PATHS
from tests.fakes.device_port import CORRELATION_ID, dead_letter
from tests.fakes.http_agent import Agent, serving

FILES = Path(__file__).parents[2] / "edgeagent" / "httpapi" / "page"
JSON = {"Content-Type": "application/json"}
REPLAY = f'{{"correlation_ids": ["{CORRELATION_ID}"]}}'.encode()


@pytest.mark.parametrize("path", sorted(PAGE_PATHS))
async def test_each_file_of_the_page_comes_with_a_policy_that_lets_nothing_else_in(agent: Agent, path: str) -> None:
    reply = await agent.request("GET", path)
    assert reply.status == 200
    name = "index.html" if path == "/" else path[1:]
    assert reply.body == (FILES / name).read_bytes()
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["content-type"].split(";")[0] in {
        *("text/html", "text/css", "text/javascript", "image/svg+xml"),
    }


def test_each_file_is_offered_and_refers_only_to_files_that_are_there() -> None:
    names = {path.name for path in FILES.iterdir()}
    assert names == {"index.html" if path == "/" else path[1:] for path in PAGE_PATHS}
    for path in FILES.iterdir():
        text = path.read_text("utf-8")
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text), path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), path
        assert not re.search(r"\son[a-z]+=|\sstyle=|<style|<script>", text), path
        for name in re.findall(r"""from "\./([^"]+)\"""", text):
            assert name in names, path


async def test_the_page_needs_no_token_and_its_data_does(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    async with serving(token_file=str(token)) as agent:
        for path in PAGE_PATHS:
            assert (await agent.request("GET", path)).status == 200
        for path in ("/v1/stats", "/v1/stream", "/v1/series", "/v1/devices", "/v1/triggers", "/v1/dead"):
            assert (await agent.request("GET", path)).status == 401, path
        for path in ("/v1/dead/replay", "/v1/dead/discard"):
            assert (await agent.request("POST", path, REPLAY, JSON)).status == 401, path
        headers = {**JSON, "Authorization": "Bearer secret"}
        assert (await agent.request("POST", "/v1/dead/replay", REPLAY, headers)).status == 200


async def test_a_link_on_another_site_may_lead_to_the_page_and_to_nothing_else(agent: Agent) -> None:
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert (await agent.request("GET", "/", headers=linked)).status == 200
    assert (await agent.request("GET", "/v1/stats", headers=linked)).status == 403
    assert (await agent.request("POST", "/", b"", linked)).status == 405


@pytest.mark.parametrize("path", ["/v1/dead/replay", "/v1/dead/discard"])
async def test_dead_letters_change_only_by_a_request_that_no_other_page_can_send(agent: Agent, path: str) -> None:
    agent.operator.dead = [dead_letter()]
    own = {"Origin": f"http://127.0.0.1:{agent.port}", "Sec-Fetch-Site": "same-origin"}
    assert (await agent.request("POST", path, REPLAY, {"Content-Type": "text/plain", **own})).status == 415
    assert (await agent.request("POST", path, REPLAY, own)).status == 415
    other = {**JSON, "Origin": "http://evil.example"}
    assert (await agent.request("POST", path, REPLAY, other)).status == 403
    assert (await agent.request("POST", path, REPLAY, {**JSON, "Sec-Fetch-Site": "same-site"})).status == 403
    assert agent.operator.calls == []
    assert (
        await agent.request("POST", path, REPLAY, {"Content-Type": "application/json; charset=utf-8", **own})
    ).status == 200


async def test_without_the_page_tcp_offers_neither_it_nor_dead_letters() -> None:
    async with serving(page=False) as agent:
        for path in (*PAGE_PATHS, "/v1/dead", f"/v1/dead/{CORRELATION_ID}"):
            assert (await agent.request("GET", path)).status == 404, path
        assert (await agent.request("POST", "/v1/dead/discard", REPLAY, JSON)).status == 404
        assert (await agent.request("GET", "/v1/series")).status == 200
