"""A real Chromium without a window, and the status page in it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any, Final, Literal

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Error, Page, Request, async_playwright
from playwright.async_api import TimeoutError as PlaywrightTimeout

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# A browser that starts on a busy machine takes long for its first page.
DEADLINE_S = 120.0
DESKTOP = (1440, 1000)
PHONE = (360, 780)
Scheme = Literal["light", "dark"]
_SCHEMES: Final[tuple[Scheme, Scheme]] = ("light", "dark")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser of this machine."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    assert program is not None, "Chromium is missing: sudo apt-get install --no-install-recommends chromium"
    async with async_playwright() as playwright:
        # A container has neither the namespaces for its sandbox nor a large /dev/shm.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--force-color-profile=srgb"]
        browser = await playwright.chromium.launch(executable_path=program, args=arguments, timeout=DEADLINE_S * 1000)
        try:
            yield browser
        finally:
            await browser.close()


class StatusPage:
    """The status page of an agent, opened.

    `faults`: what the browser complained of. `addresses`: what it asked for.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        self.addresses: list[str] = []
        page.set_default_timeout(DEADLINE_S * 1000)
        page.on("console", self._console)
        page.on("pageerror", self._error)
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(message.text)

    def _error(self, error: Error) -> None:
        self.faults.append(str(error))

    def _request(self, request: Request) -> None:
        self.addresses.append(request.url)

    async def shows(self, selector: str, text: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Wait until the first such element has this text in it."""
        try:
            await self.page.wait_for_function(
                "([selector, text]) => document.querySelector(selector)?.textContent.includes(text)",
                arg=[selector, text],
                timeout=deadline_s * 1000,
            )
        except PlaywrightTimeout as exc:
            seen = await self.page.inner_text("body")
            raise AssertionError(f"{selector} without {text!r}; seen: {seen[:4000]}\n{self.faults}") from exc

    async def texts(self, selector: str) -> list[str]:
        """The texts of all such elements."""
        found: list[str] = await self.page.locator(selector).all_text_contents()
        return found

    async def accessibility_faults(self) -> list[str]:
        """What axe finds that is serious or critical, in light and dark, on a desktop and on a phone."""
        faults: list[str] = []
        for (width, height), scheme in product((DESKTOP, PHONE), _SCHEMES):
            await self.page.set_viewport_size({"width": width, "height": height})
            await self.page.emulate_media(color_scheme=scheme)
            found: dict[str, Any] = (await Axe().run(self.page)).response
            faults += [
                f"{scheme}, {width}: {one['id']}: {node['target']} {node['failureSummary']}"
                for one in found["violations"]
                if one["impact"] in {"serious", "critical"}
                for node in one["nodes"]
            ]
        return faults


@asynccontextmanager
async def status_page(
    port: int, *, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light", scale: float = 1, zone: str = "UTC"
) -> AsyncIterator[StatusPage]:
    """The status page of the agent on this port of loopback, in a browser of its own."""
    async with chromium() as browser:
        width, height = size
        context = await browser.new_context(
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
            color_scheme=scheme,
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id=zone,
        )
        opened = StatusPage(await context.new_page())
        await opened.page.goto(f"http://127.0.0.1:{port}/")
        yield opened
