"""`vcache gocacheprog`: the cache program of the Go command (GOCACHEPROG, Go 1.24 and later).

Go sends JSON objects, one a line, and may have many in flight; a put is followed by its body as a
JSON string in base64. What is given to Go is a file that stays until Go says "close". Protocol:
the documentation of Go's package cmd/go/internal/cacheprog.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

from vcache.cache import Cache
from vcache.errors import UsageError
from vcache.kit.data import dataclass
from vcache.outcome import Hit, Miss, Reason
from vcache.server.vault import Vault, realm_key
from vcache.store.base import Files, HeldPath, satisfies

__all__ = ["GoCache"]

_REALM: Final = "go"
_COMMANDS: Final = ("get", "put", "close")
_OUTPUT: Final = "output"
_THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class _Request:
    number: int
    command: str
    action: bytes
    output: bytes
    body: bytes


class GoCache:
    """One run of the Go command.

    Args:
        cache: where it keeps things; a tier of it has files.
        requests, answers: what Go writes, what Go reads.

    Raises:
        UsageError: no tier keeps files, and Go wants files.
    """

    def __init__(self, cache: Cache, requests: BinaryIO, answers: BinaryIO) -> None:
        self._cache = cache
        files = cache.files()
        if files is None:
            raise UsageError("gocacheprog needs a tier that keeps files: add a disk tier")
        self._files: Files = cache.store if satisfies(cache.store, Files) else files
        self._vault = Vault(cache.store, after_put=cache.after_put)
        self._requests, self._answers = requests, answers
        self._lock = threading.Lock()  # guards the two below, and the order of answers
        self._held: dict[str, HeldPath] = {}
        self._empty: Path | None = None

    def serve(self) -> None:
        """Answer until Go closes."""
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="vcache-go") as threads:
            self._say({"ID": 0, "KnownCommands": list(_COMMANDS)})
            try:
                while (request := self._next()) is not None:
                    if request.command == "close":
                        threads.shutdown(wait=True)
                        self._say({"ID": request.number})
                        break
                    threads.submit(self._answer, request)
            finally:
                threads.shutdown(wait=True)
                for held in self._held.values():
                    held.release()
                if self._empty is not None:
                    with contextlib.suppress(OSError):
                        self._empty.unlink()

    # -- requests --------------------------------------------------------------------------

    def _next(self) -> _Request | None:
        """The next request with its body; None where Go went away."""
        line = self._line()
        if line is None:
            return None
        fields = cast("Mapping[str, object]", json.loads(line))
        body = b""
        if fields.get("Command") == "put" and int(str(fields.get("BodySize") or 0)) > 0:
            text = self._line()
            if text is None:
                return None
            body = base64.b64decode(json.loads(text), validate=True)
        return _Request(
            int(str(fields.get("ID", 0))),
            str(fields.get("Command", "")),
            _bytes(fields.get("ActionID")),
            _bytes(fields.get("OutputID") or fields.get("ObjectID")),
            body,
        )

    def _line(self) -> bytes | None:
        """The next line that is not empty."""
        while line := self._requests.readline():
            if line.strip():
                return line
        return None

    # -- answers ---------------------------------------------------------------------------

    def _answer(self, request: _Request) -> None:
        found: Mapping[str, object]
        works: Mapping[str, Callable[[_Request], dict[str, object]]] = {"get": self._get, "put": self._put}
        try:
            work = works.get(request.command)
            found = work(request) if work else {"Err": f"unknown command {request.command!r}"}
        except Exception as error:  # whatever it is, Go waits for an answer
            # A fault is a miss: Go builds what it does not get, and would end at an error of a get.
            found = (
                {"Miss": True} if request.command == "get" else {"Err": f"{type(error).__name__}: {error}"}
            )
        self._say({"ID": request.number, **found})

    def _get(self, request: _Request) -> dict[str, object]:
        name = request.action.hex()
        found = self._vault.get("", _REALM, name)
        output = "" if found is None else found.meta.get(_OUTPUT, "")
        path = None if found is None or not output else self._path(name, found.size_bytes)
        if found is None or path is None:
            self._cache.count(Miss(Reason.ABSENT, "Go's cache has no such action"))
            return {"Miss": True}
        entry = found.record.entry()
        self._cache.count(Hit("", entry, None))
        when = datetime.fromtimestamp(entry.created_ns / 1e9, UTC)
        return {
            "OutputID": base64.b64encode(bytes.fromhex(output)).decode(),
            "Size": found.size_bytes,
            "Time": when.isoformat().replace("+00:00", "Z"),
            "DiskPath": str(path),
        }

    def _put(self, request: _Request) -> dict[str, object]:
        name = request.action.hex()
        self._vault.put("", _REALM, name, request.body, meta={_OUTPUT: request.output.hex()})
        path = self._path(name, len(request.body))
        return {"Err": "the body could not be kept as a file"} if path is None else {"DiskPath": str(path)}

    def _path(self, name: str, size_bytes: int) -> Path | None:
        """A file with a value's content, which stays until the end."""
        if not size_bytes:
            return self._empty_file()
        held = self._files.hold(realm_key("", _REALM, name))
        if held is None:
            return None
        with self._lock:
            if str(held.path) in self._held:
                held.release()
            else:
                self._held[str(held.path)] = held
        return held.path

    def _empty_file(self) -> Path:
        with self._lock:
            if self._empty is None:
                fd, name = tempfile.mkstemp(prefix="vcache-go-")
                os.close(fd)
                self._empty = Path(name)
            return self._empty

    def _say(self, answer: Mapping[str, object]) -> None:
        line = json.dumps(answer).encode() + b"\n"
        with self._lock:
            self._answers.write(line)
            self._answers.flush()


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except binascii.Error:
        return b""
