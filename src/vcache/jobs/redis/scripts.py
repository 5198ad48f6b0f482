"""The scripts that a queue runs in its server, and how one is called: by its digest, told whole once.

It must not know what they do.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from vcache.errors import StoreError, StoreUnavailable
from vcache.store.redis.wire import Client

__all__ = ["Scripts"]

_ALL: Final = ("base", "common")
_PARTS: Final = {
    "single": ("single",),
    "groups": ("base", "groups"),  # what is not told is not run: a single job takes a third of the time
    "submit": (*_ALL, "groups", "specials"),
    "swap": (*_ALL, "swap", "groups", "specials"),
}
_UNKNOWN: Final = "NOSCRIPT"


@cache
def _text(name: str) -> bytes:
    folder = files("vcache.jobs.redis") / "lua"
    return b"".join((folder / f"{part}.lua").read_bytes() for part in _PARTS.get(name, (*_ALL, name)))


class Scripts:
    """Calls scripts on the keys that begin so. Any thread."""

    def __init__(self, client: Client, prefix: bytes) -> None:
        self._client = client
        self._prefix = prefix
        self._digests: dict[str, bytes] = {}

    def call(self, name: str, arguments: list[bytes]) -> Any:
        """What a script answers.

        Raises:
            StoreError: as the server, or the way to it, has it.
        """
        digest = self._digests.get(name)
        if digest is None:
            digest = self._load(name)
        try:
            return self._client.ask(b"EVALSHA", digest, b"1", self._prefix, *arguments)
        except StoreError as error:
            if _UNKNOWN not in str(error):
                raise
        # A server that was started anew, or that another one took over from.
        return self._client.ask(b"EVALSHA", self._load(name), b"1", self._prefix, *arguments)

    def _load(self, name: str) -> bytes:
        digest = self._client.ask(b"SCRIPT", b"LOAD", _text(name))
        if not isinstance(digest, bytes):
            raise StoreUnavailable(f"no digest of a script: {digest!r:.80}")
        self._digests[name] = digest
        return digest
