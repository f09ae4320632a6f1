"""A real browser: Debian's Chromium, driven by Playwright; without the two the tests are skipped.

`UNGLOSSED_SCREENSHOTS=DIR` has the tests write the screenshots of the docs there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
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


@pytest.fixture
def screenshot() -> Callable[[Any, str], None]:
    """Writes a screenshot of a page where the environment asks for it."""
    folder = os.environ.get("UNGLOSSED_SCREENSHOTS")

    def shoot(page: Any, name: str) -> None:
        if folder:
            page.screenshot(path=Path(folder) / name, full_page=True)

    return shoot
