"""The page that shows logs: files of this package, which ask the API like any other client.

It must not know what they show: tokens and records are the API's affair.
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

_BASE: Final = "/logs/"
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
    """Serves the page and what belongs to it to everybody: there is nothing secret in it."""

    name = "viewer"

    def __init__(self) -> None:
        self._known: dict[str, tuple[bytes, str, str]] = {}
        for file in files("vcache.server.logs").joinpath("page").iterdir():
            kind = _TYPES.get(file.name.rpartition(".")[2])
            if kind is not None:
                content = file.read_bytes()
                self._known[file.name] = content, kind, f'"{digest(content).hex()[:32]}"'

    def claims(self, path: str) -> bool:
        """Whether a path is the page's."""
        return path.startswith(_BASE) or path == "/logs"

    def needs_token(self, method: str, path: str) -> bool:
        """Never: the page asks for one."""
        return False

    async def answer(self, exchange: Exchange) -> None:
        """Give a file.

        Raises:
            Refused: there is none.
        """
        if exchange.method not in READS:
            raise Refused(Refusal.METHOD, f"{exchange.method} {exchange.path} means nothing")
        if exchange.path == "/logs":
            await exchange.answer(308, b"", (("location", _BASE),))
            return
        found = self._known.get(exchange.path[len(_BASE) :] or "index.html")
        if found is None:
            raise Refused(Refusal.ABSENT, f"{exchange.path!r:.200} is no part of the page")
        content, kind, tag = found
        headers = (("content-type", kind), ("etag", tag), *_HEADERS)
        if exchange.header("if-none-match") == tag:
            await exchange.answer(304, b"", headers)
            return
        await exchange.answer(200, content, headers)

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """A line of words."""
        return plain(refused)
