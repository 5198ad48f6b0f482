"""The server's pages in the system's Chromium: begun, watched for errors and for what is asked elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.servers import needed

__all__ = ["EVIL", "UNNAMED", "chromium", "watched"]

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
EVIL = (
    "<script>window.pwned=1</script>", "<img src=x onerror='window.pwned=1'>", '"><svg onload=window.pwned=1>',
    "javascript:window.pwned=1", "{{constructor.constructor('window.pwned=1')()}}", "</pre></div><b>bold</b>",
    "\x1b[31m<img src=x onerror=window.pwned=1>\x1b[0m", "\x1b]8;;javascript:window.pwned=1\x07link\x1b]8;;\x07",
)  # fmt: skip
"""What somebody may write into a text in order to act on who reads it."""

UNNAMED = """() => [...document.querySelectorAll("button, input, select, a, [role=button]")]
    .filter((each) => !(each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.length))
    .map((each) => each.outerHTML)"""
"""Controls that have no name for who cannot see them."""

expect.set_options(timeout=60_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, ended with the context."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=needed("chromium", "chromium"), args=ARGUMENTS, chromium_sandbox=False
        )
        yield found
        found.close()


@contextmanager
def watched(browser: Browser, url: str) -> Iterator[Page]:
    """An empty page, which at the end must have had no error of a script and have asked nobody but a server."""
    context = browser.new_context(viewport={"width": 1200, "height": 700}, timezone_id="UTC")
    context.set_default_timeout(60_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(url) else wrong.append(asked.url))
    yield page
    context.close()
    assert wrong == []
