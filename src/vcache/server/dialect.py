"""What a dialect is to the application: it claims paths, answers requests, phrases refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vcache.server.exchange import Exchange
from vcache.server.refused import Refused

__all__ = ["Answer", "Dialect"]

Answer = tuple[int, Sequence[tuple[str, str]], bytes]
"""Status, headers beside Content-Length, body."""


class Dialect(Protocol):
    """One kind of client. Its handlers run on the event loop and never block it.

    Attributes:
        name: as in docs/design/server.md, and in metrics.
    """

    @property
    def name(self) -> str: ...

    def claims(self, path: str) -> bool:
        """Whether a path is its own. Cheap: asked for each request, in the order of the routes."""

    def needs_token(self, method: str, path: str) -> bool:
        """Whether a request is for callers only; a probe that must always succeed is not."""

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request, once.

        Raises:
            Refused: it is not done; nothing was answered yet.
        """

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """A refusal as this client takes it best: without failing the build, if it can be."""
