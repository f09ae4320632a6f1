"""A real browser: Debian's Chromium, driven by Playwright; without the two tests are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """Playwright, as its synchronous interface has it."""
    interface = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium")
    with interface.sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def launch(playwright: Any) -> Iterator[Callable[..., Any]]:
    """Starts browsers with further arguments; they end with the module."""
    with ExitStack() as stack:

        def begin(*arguments: str) -> Any:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", *arguments]
            )
            stack.callback(browser.close)
            return browser

        yield begin


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any]) -> Any:
    """A browser without further arguments."""
    return launch()
