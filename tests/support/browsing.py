"""A real headless browser: the page's complaints fail the test that opened it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock_lab.browser import Browser, BrowserNotFoundError, find


def browser_or_skip() -> Browser:
    """The browser; a machine that has none and cannot fetch one skips, and says why."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install 'penstock[dev]'")
    try:
        return find()
    except BrowserNotFoundError as error:
        pytest.skip(str(error))


class Visit:
    """A page that is open; `complaints` holds what the browser's console said of errors."""

    def __init__(self, page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def text(self, selector: str) -> str:
        return await self.page.inner_text(selector)

    async def until(self, script: str) -> None:
        """Until a JavaScript expression is true."""
        # Not `wait_for_function`: it evaluates in the page, where the page's own policy forbids that.
        deadline = time.monotonic() + 60
        while not await self.page.evaluate(script):
            assert time.monotonic() < deadline, f"not within 60 s: {script}; console: {self.complaints}"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def visit(
    browser: Browser, url: str, *, dark: bool = False, width: int = 1360, height: int = 900
) -> AsyncIterator[Visit]:
    """Open a page in a fresh browser."""
    from playwright.async_api import async_playwright

    async with async_playwright() as driver:
        process = await driver.chromium.launch(
            executable_path=str(browser.path),
            env={**os.environ, **browser.environment},
            args=["--no-sandbox", "--disable-gpu"],  # containers allow no sandbox; the page is ours
        )
        context = await process.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            timezone_id="UTC",
        )
        context.set_default_timeout(120_000)  # the cores are shared
        opened = Visit(await context.new_page())
        await opened.page.goto(url)
        try:
            yield opened
        finally:
            await process.close()
