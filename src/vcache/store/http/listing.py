"""The keys of the objects on an HTTP server: its own list, or what WebDAV says.

It must not know what is done with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from vcache.entry import Key
from vcache.errors import DecodeError, StoreClosed, StoreError, StoreUnavailable
from vcache.kit.batches import batched
from vcache.kit.deadlines import Within
from vcache.store.http.dav import LIST, names_in
from vcache.store.http.messages import Answer
from vcache.store.http.site import ABSENT, Site
from vcache.store.objects import key_of, name_prefix

__all__ = ["Listing"]

_FOUND: Final = 207
_PROBE_S: Final = 2.0
_SILENCE_S: Final = 60.0
_LONG_AT_ONCE: Final = 256

Keys = Callable[[Sequence[str]], "Iterator[Key]"]


class Listing:
    """Walks the keys of a site, if its server can tell them.

    Args:
        keys_of_long: gives the keys of objects whose names do not tell them.
    """

    def __init__(self, site: Site, keys_of_long: Keys) -> None:
        self._site = site
        self._keys_of_long = keys_of_long
        self._is_dav: bool | None = None  # None until it was asked
        self._silent_until_s = 0.0

    def is_there(self) -> bool:
        """Whether the server lists. It is asked once; one that cannot be reached does not, for a while."""
        if time.monotonic() < self._silent_until_s:
            return False
        try:
            with Within(_PROBE_S):
                return self._site.learn() or self._learn_dav()
        except StoreClosed:
            return False
        except StoreError:
            self._silent_until_s = time.monotonic() + _SILENCE_S
            return False

    def keys(self, prefix: bytes) -> Iterator[Key]:
        """The keys that begin with a prefix, each once.

        Raises:
            StoreError: the server does not list, or refuses to.
        """
        if self._site.learn():
            return self._own_keys(prefix)
        if self._learn_dav():
            return self._dav_keys(prefix)
        raise StoreError(
            f"{self._site.where}: the server lists nothing: it is neither vcache's own nor knows PROPFIND of WebDAV"
        )

    def _learn_dav(self) -> bool:
        if self._is_dav is None:
            answer = self._site.first(lambda path: self._propfind(path, "0"))
            if answer.status >= 500 and answer.status != 501:
                raise self._site.refusal(answer, "PROPFIND")
            self._is_dav = answer.status == _FOUND
        return self._is_dav

    def _propfind(self, path: str, depth: str) -> Answer:
        headers = [("Depth", depth), ("Content-Type", "application/xml")]
        return self._site.client.request("PROPFIND", path, headers=headers, body=LIST)

    def _own_keys(self, prefix: bytes) -> Iterator[Key]:
        start, after = name_prefix(prefix), ""
        while True:
            answer = self._site.call("GET", f"list?prefix={start}&after={after}")
            if answer is None:
                raise StoreError(f"{self._site.where}: the server does not know the call that lists")
            names = bytes(answer.body).decode("ascii", "replace").split()
            yield from (key for key in self._keys_of(names) if key.startswith(prefix))
            last, after = after, answer.headers.get("x-next", "")
            if not after:
                return
            if after <= last:  # it would never end
                raise StoreUnavailable(
                    f"{self._site.where}: a listing goes on at {after!r:.80} after {last!r:.80}"
                )

    def _dav_keys(self, prefix: bytes) -> Iterator[Key]:
        answer = self._propfind(self._site.path, "1")
        if answer.status in ABSENT:
            return
        if answer.status != _FOUND:
            raise self._site.refusal(answer, "PROPFIND")
        try:
            names = names_in(answer.body)
        except DecodeError as error:
            raise StoreUnavailable(f"{self._site.where}: {error}") from error
        start = name_prefix(prefix)
        wanted = [name for name in dict.fromkeys(names) if name.startswith((start, "~"))]
        yield from (key for key in self._keys_of(wanted) if key.startswith(prefix))

    def _keys_of(self, names: Sequence[str]) -> Iterator[Key]:
        """The keys of names; what is no object's name is somebody else's file."""
        long = []
        for name in names:
            try:
                key = bytes.fromhex(name) if name[:1] != "~" and len(name) > 200 else key_of(name)
            except (DecodeError, ValueError):
                continue
            if key is None:
                long.append(name)
            else:
                yield key
        for batch in batched(long, _LONG_AT_ONCE):
            yield from self._keys_of_long(batch)
