"""A browser for tests: Debian's Chromium, driven by Playwright, that can reach one server only."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Response, Route, WebSocket, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")

SCREENSHOTS = Path(
    os.environ.get("FACETRACKS_SCREENSHOTS")
    or Path(__file__).resolve().parents[1] / "build" / "screenshots"
)
"""Where the pictures go: `<visit>-<number>-<step>.png`, those of an earlier visit replaced."""

ASKED_REGARDLESS = {"sr-client-cfg.amplitude.com"}
"""Hosts that Prefect's pages ask whatever its settings are.

Version 2 of its pages asks Amplitude for a configuration each time it is loaded. With
PREFECT_SERVER_ANALYTICS_ENABLED=false it sends no events: api2.amplitude.com is not to be here.
"""

ANSWER_WITHIN_S = 15.0
"""For a page to show what it fetches, on a machine that has other work."""

RENEW_EVERY_S = 3.0
"""A page shows the artifacts there were when it was loaded."""

BUSY_TRIES = 8
"""SQLite is locked for a moment now and then; the server answers 503, and a person tries again."""


def _chromium() -> str:
    if not CHROMIUM.exists():
        if "CI" in os.environ:
            pytest.fail("Chromium is missing: `make test` installs it where it may")
        pytest.skip("no Chromium here: install the package chromium")
    return str(CHROMIUM)


class Visit:
    """A person at the pages of a server: one browser, one tab, from `with` to its end.

    Requests to any other host are refused and recorded; the visit fails at its end if there was
    one that is not known. A visit that fails leaves a picture of what was to be seen then.

    Attributes:
        url: the server's, without a slash at its end.
        page: the tab.
    """

    def __init__(self, url: str, name: str) -> None:
        self.url = url.rstrip("/")
        self.refused: list[str] = []
        self._name = name
        self._steps = 0

    def __enter__(self) -> Self:
        program, own = _chromium(), urlsplit(self.url)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for old in SCREENSHOTS.glob(f"{self._name}-[0-9][0-9]-*.png"):
            old.unlink()
        self._playwright = sync_playwright().start()
        try:
            # No name is looked up either, by whatever part of the browser.
            args = [f"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {own.hostname}"]
            # Chromium's sandbox refuses to work for root.
            args += ["--no-sandbox"] if os.getuid() == 0 else []
            browser = self._playwright.chromium.launch(
                executable_path=program, headless=True, args=args
            )
            context = browser.new_context(
                viewport={"width": 1440, "height": 900}, locale="en-US", timezone_id="UTC",
                service_workers="block",
            )  # fmt: skip
            context.set_default_timeout(ANSWER_WITHIN_S * 1000)
            expect.set_options(timeout=ANSWER_WITHIN_S * 1000)
            # A pattern, which Playwright's driver matches: what is our own is not held up here.
            elsewhere = re.compile(rf"^(?!{re.escape(self.url)}/)https?://")
            context.route(elsewhere, self._refuse)
            self.page = context.new_page()
            self.page.on("websocket", self._look_at)
        except BaseException:
            self._playwright.stop()
            raise
        return self

    def _refuse(self, route: Route) -> None:
        self.refused.append(route.request.url)
        route.abort()

    def _look_at(self, socket: WebSocket) -> None:
        if urlsplit(socket.url).netloc != urlsplit(self.url).netloc:
            self.refused.append(socket.url)

    def picture(self, step: str) -> None:
        """Saves what is to be seen."""
        self._steps += 1
        name = f"{self._name}-{self._steps:02}-{step.replace(' ', '-')}.png"
        self.page.screenshot(path=SCREENSHOTS / name)

    def see(self, what: Locator, within_s: float) -> None:
        """Waits until it is to be seen, renewing the page."""
        give_up = time.monotonic() + within_s
        while True:
            try:
                return expect(what).to_be_visible(timeout=RENEW_EVERY_S * 1000)
            except AssertionError:
                if time.monotonic() > give_up:
                    raise
                self.page.reload()

    def until_accepted(self, call: str, attempt: Callable[[], None]) -> Response:
        """Does it, and again where the server was busy; returns its answer.

        Args:
            call: pattern of the request that the attempt leads to.
        """
        for _ in range(BUSY_TRIES):
            with self.page.expect_response(re.compile(call)) as answer:
                attempt()
            if answer.value.status != 503:
                assert answer.value.ok, answer.value.text()
                return answer.value
            self.picture("server busy")
        raise AssertionError(f"the server was busy {BUSY_TRIES} times")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is not None:
                self.picture("FAILED")
        finally:
            # Ends the browser, too.
            self._playwright.stop()
        if kind is None:
            hosts = {str(urlsplit(url).hostname) for url in self.refused}
            assert hosts <= ASKED_REGARDLESS, f"the page asks elsewhere: {self.refused}"
