"""A real Chromium for tests, cut off from every machine but this one.

`python -m tests.browser` prints where Chromium is or would be, see scripts/browser.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Playwright, Route, sync_playwright

_COMMANDS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_WINDOW = (1500, 900)


def chromium(playwright: Playwright) -> Path:
    """The Chromium on PATH, else where Playwright keeps its own, whether or not it is there."""
    on_path = next(filter(None, map(shutil.which, _COMMANDS)), None)
    return Path(on_path or playwright.chromium.executable_path)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A fresh browser; each context made by `new_context` is somebody else's session."""
    with sync_playwright() as playwright:
        executable = chromium(playwright)
        if not executable.exists():
            raise FileNotFoundError("There is no Chromium. Run: scripts/browser")
        browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        yield browser
        browser.close()


@contextmanager
def open_page() -> Iterator[Page]:
    """A page of a fresh browser that can reach this machine only."""
    with open_browser() as browser:
        yield new_session(browser)


def new_session(browser: Browser) -> Page:
    """A page of somebody who shares no login with the others; it can reach this machine only."""
    width, height = _WINDOW
    context = browser.new_context(viewport={"width": width, "height": height}, service_workers="block")
    context.route("**/*", _only_this_machine)
    return context.new_page()


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A fresh browser; without Chromium the test is skipped, in CI it fails."""
    try:
        with open_browser() as opened:
            yield opened
    except FileNotFoundError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def page(browser: Browser) -> Page:
    """A page of a fresh browser."""
    return new_session(browser)


def _only_this_machine(route: Route) -> None:
    if urlsplit(route.request.url).hostname in ("127.0.0.1", "localhost"):
        route.continue_()
    else:
        route.abort()


if __name__ == "__main__":
    with sync_playwright() as playwright:
        print(chromium(playwright))
