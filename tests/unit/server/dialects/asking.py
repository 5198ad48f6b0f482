"""Asks dialects as the application would, without a socket: a real store, in-process requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vcache.entry import Entry
from vcache.server.app import App
from vcache.server.callers import OPEN, Caller, Role
from vcache.server.dialect import Dialect
from vcache.server.exchange import Desk
from vcache.server.refused import Refused
from vcache.server.vault import Vault
from vcache.store.disk import DiskStore

READER = Caller("r", Role.READER, "team")
WRITER = Caller("w", Role.WRITER, "team")


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Asker:
    """One dialect over a store of its own.

    Attributes:
        caller: who asks; a refusal is raised where the caller would be looked up.
        refusal: what the store says to every PUT.
        notes: what changes were told of.
    """

    dialect: Dialect
    store: DiskStore
    directory: Path
    caller: Caller | Refused = OPEN
    refusal: Refused | None = None
    limit_bytes: int = 8 << 20
    notes: list[tuple[str, str]] = field(default_factory=list)

    def __call__(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        pieces: int = 0,
        is_cut: bool = False,
    ) -> Reply:
        """Send a request, in pieces of so many bytes; cut off, the client goes away at the end."""
        path, _, query = target.partition("?")
        lines = {"host": "cache.example", **{name.lower(): value for name, value in (headers or {}).items()}}
        if body and "content-length" not in lines:
            lines["content-length"] = str(len(body))
        scope: dict[str, object] = {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in lines.items()],
            "client": ("127.0.0.1", 1),
            "http_version": "1.1",
        }
        step = pieces or len(body) or 1
        parts = [body[start : start + step] for start in range(0, len(body), step)] or [b""]
        return asyncio.run(self._ask(scope, parts, is_cut))

    def entry(self, realm: str, name: str) -> Entry:
        namespace = self.caller.namespace if isinstance(self.caller, Caller) else ""
        found = Vault(self.store).get(namespace, realm, name)
        assert found is not None
        return found.record.entry()

    def names(self, realm: str) -> list[str]:
        namespace = self.caller.namespace if isinstance(self.caller, Caller) else ""
        return sorted(Vault(self.store).names(namespace, realm))

    async def _ask(self, scope: dict[str, object], parts: Iterable[bytes], is_cut: bool) -> Reply:
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": True} for part in parts
        ]
        if is_cut:
            messages.append({"type": "http.disconnect"})
        else:
            messages[-1]["more_body"] = False
        coming = iter(messages)
        sent: list[Any] = []

        async def receive() -> Any:
            return next(coming)

        async def send(message: Any) -> None:
            sent.append(message)

        app = App(self._desk(), [self.dialect], self._authenticate)
        await app(scope, receive, send)
        start = sent[0]
        lines = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Reply(start["status"], lines, b"".join(bytes(one["body"]) for one in sent[1:]))

    def _authenticate(self, scope: object) -> Caller:
        if isinstance(self.caller, Refused):
            raise self.caller
        return self.caller

    def _desk(self) -> Desk:
        def admit(caller: Caller, size: int | None) -> None:
            if self.refusal is not None:
                raise self.refusal

        def note(caller: Caller, action: str, dialect: str, realm: str, *rest: object) -> None:
            self.notes.append((action, realm))

        return Desk(Vault(self.store), self.limit_bytes, self.directory, _inline, admit, note)


async def _inline(work: Callable[..., Any], *arguments: object) -> Any:
    return work(*arguments)
