"""The pages that show logs and jobs: files of packages, which ask the API like any other client.

It must not know what they show: tokens, records and jobs are the API's affair.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

from vcache.hash import digest
from vcache.server.phrases import READS, plain
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.server.dialect import Answer
    from vcache.server.exchange import Exchange

__all__ = ["Viewer"]

_PAGES: Final = {"logs": "vcache.server.logs", "jobs": "vcache.server.jobs"}
_SHARED: Final = "vcache.server"  # what every page has, beside what is its own
_TYPES: Final = {
    "html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}  # fmt: skip
_HEADERS: Final = (
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-cache"),
)


class Viewer:
    """Serves the pages and what belongs to them to everybody: there is nothing secret in them."""

    name = "viewer"

    def __init__(self) -> None:
        shared = _assets(_SHARED)
        self._pages = {name: {**shared, **_assets(package)} for name, package in _PAGES.items()}

    def claims(self, path: str) -> bool:
        """Whether a path is a page's."""
        return path[1:].partition("/")[0] in self._pages

    def needs_token(self, method: str, path: str) -> bool:
        """Never: the pages ask for one."""
        return False

    async def answer(self, exchange: Exchange) -> None:
        """Give a file.

        Raises:
            Refused: there is none.
        """
        if exchange.method not in READS:
            raise Refused(Refusal.METHOD, f"{exchange.method} {exchange.path} means nothing")
        page, slash, name = exchange.path[1:].partition("/")
        if not slash:
            await exchange.answer(308, b"", (("location", f"/{page}/"),))
            return
        found = self._pages[page].get(name or "index.html")
        if found is None:
            raise Refused(Refusal.ABSENT, f"{exchange.path!r:.200} is no part of a page")
        content, kind, tag = found
        headers = (("content-type", kind), ("etag", tag), *_HEADERS)
        if exchange.header("if-none-match") == tag:
            await exchange.answer(304, b"", headers)
            return
        await exchange.answer(200, content, headers)

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """A line of words."""
        return plain(refused)


def _assets(package: str) -> dict[str, tuple[bytes, str, str]]:
    """Content, type and tag of each file of a page, by its name."""
    found = {}
    for file in files(package).joinpath("page").iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            content = file.read_bytes()
            found[file.name] = content, kind, f'"{digest(content).hex()[:32]}"'
    return found
