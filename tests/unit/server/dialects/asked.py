"""A dialect in an application of its own over a store in memory, asked without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from tests.desks import on_thread
from vcache.server.app import App
from vcache.server.callers import OPEN, Caller
from vcache.server.dialect import Dialect
from vcache.server.exchange import Desk
from vcache.server.vault import Vault
from vcache.store.base import Store
from vcache.store.disk import DiskStore

__all__ = ["Answered", "Asked"]


class Answered(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Asked:
    """An application of one dialect.

    Attributes:
        noted: what was told to the desk: action, realm, name.
    """

    def __init__(self, dialect: Dialect, directory: Path, *, limit_bytes: int = 1 << 30) -> None:
        self.store: Store = DiskStore(directory / "store")
        uploads = directory / "uploads"
        uploads.mkdir()
        self.uploads = uploads
        self.noted: list[tuple[str, str, str | bytes]] = []
        self.vault = Vault(self.store)
        self.desk = Desk(self.vault, limit_bytes, uploads, on_thread, self._admit, self._note)
        self.app = App(self.desk, [dialect], lambda scope: self.caller)
        self.caller: Caller = OPEN
        self.admit: Callable[[Caller, int | None], None] = lambda caller, length: None

    def _admit(self, caller: Caller, length: int | None) -> None:
        self.admit(caller, length)

    def _note(self, *told: Any) -> None:
        _, action, _, realm, name, _ = told
        self.noted.append((action, realm, name))

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        *,
        headers: Mapping[str, str] | None = None,
        is_sized: bool = True,
    ) -> Answered:
        """Send one request and wait for its answer."""
        chunks = [body] if isinstance(body, bytes) else list(body)
        lines = [(b"host", b"cache")]
        if is_sized and method not in ("GET", "HEAD"):
            lines.append((b"content-length", b"%d" % sum(map(len, chunks))))
        lines += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        path, _, query = path.partition("?")
        scope = {
            "type": "http", "method": method, "path": unquote(path), "raw_path": path.encode(),
            "query_string": query.encode(), "headers": lines, "client": ("127.0.0.1", 1),
        }  # fmt: skip
        sent: list[MutableMapping[str, Any]] = []
        coming = iter(chunks)
        left = len(chunks)

        async def receive() -> MutableMapping[str, Any]:
            nonlocal left
            left -= 1
            if left < 0:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": next(coming), "more_body": left > 0}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answered(sent[0]["status"], answered, b"".join(bytes(each["body"]) for each in sent[1:]))
