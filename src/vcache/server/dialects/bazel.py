"""Bazel's HTTP cache: `GET|HEAD|PUT …/ac/<hash>` and `…/cas/<hash>`; moon and ccache speak it, too.

`cas` names contents by their SHA-256 or BLAKE3 and takes nothing else; `ac` names results of actions,
which are protobuf, moon's JSON, or ccache's own (`layout=bazel`). Any path before is the instance. Bazel
takes 200, 201, 202 and 204 for a PUT, 200 alone for a GET, and builds on with a warning at anything
else (protocols: 3.a, 3.b).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.hash import digest, file_digest, sha256_hasher
from vcache.serialize.foreign import ZstdSteps, zstd_pieces
from vcache.server import results
from vcache.server.dialect import Answer
from vcache.server.exchange import Exchange, Header
from vcache.server.names import whole_number
from vcache.server.phrases import READS, plain
from vcache.server.refused import Refusal, Refused
from vcache.server.results import CONTENTS, RESULTS
from vcache.server.vault import Found
from vcache.wire import reapi_pb2 as wire
from vcache.wire.text import from_bytes, from_json, to_json

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Bazel", "DigestCheck"]

_PATH: Final = re.compile(r"/(?:(.{1,256})/)?(ac|cas)/([0-9a-f]{64})", re.DOTALL)
_STATUS: Final = "/status"
_JSON: Final = "application/json"
_FORM: Final = "type"  # in the meta of a result that is not protobuf
# A result is some KB; what is longer is some tool's own, and is neither looked at nor held in memory.
_RESULT_BYTES: Final = 4 << 20
# Zstandard of less saves nothing, of more costs more than a build's network.
_ZSTD_BYTES: Final = range(1 << 10, 64 << 20)
_STEP_BYTES: Final = 1 << 10
_BURST_BYTES: Final = 64 << 20  # what one chunk of a body may unpack to
# What is looked up in less time than a hop to a thread and back takes.
_FEW: Final = 8
_SHORT_BYTES: Final = 64 << 10


class Bazel:
    """What Bazel, moon and ccache say to a cache of Bazel's, and expect."""

    name = "bazel"

    def claims(self, path: str) -> bool:
        """Whether a path is one of a content, a result or the status."""
        return path == _STATUS or _PATH.fullmatch(path) is not None

    def needs_token(self, method: str, path: str) -> bool:
        """Always, but for the status."""
        return path != _STATUS

    async def answer(self, exchange: Exchange) -> None:
        """Give or keep one value."""
        method = exchange.method
        if method not in READS and (method != "PUT" or exchange.path == _STATUS):
            raise Refused(Refusal.METHOD, f"{method} is not part of Bazel's protocol")
        if exchange.path == _STATUS:
            await exchange.answer(200, _status(), (("content-type", _JSON),))
            return
        match = _PATH.fullmatch(exchange.path)
        if match is None:
            raise Refused(Refusal.MALFORMED, f"{exchange.path!r:.200} is no path of Bazel's")
        instance, kind, name = match.groups(default="")
        if kind == CONTENTS:
            await (_get_content if method in READS else _put_content)(exchange, name)
        else:
            name = results.result_name(instance, name)
            await (_get_result if method in READS else _put_result)(exchange, name)

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As plain statuses; where the store fails a read is a miss, for the build's sake."""
        if refused.kind is Refusal.BROKEN and method in READS:
            return plain(refused, status=404)
        return plain(refused)


class DigestCheck:
    """The bytes of a body have a digest: SHA-256, or else BLAKE3.

    No name says which. SHA-256 is computed as the bytes come; BLAKE3, which fewer clients use, when they
    are all there and it turned out not to be the first.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._state = sha256_hasher()

    def update(self, chunk: Buffer) -> None:
        self._state.update(chunk)

    def finish(self) -> None:
        pass

    def inspect(self, content: bytes | Path) -> None:
        if self._state.hexdigest() == self._name:
            return
        if isinstance(content, Path):
            other = file_digest(content, size_bytes=content.stat().st_size)
        else:
            other = digest(content)
        if other.hex() != self._name:
            raise Refused(Refusal.MALFORMED, f"the content's digest is not {self._name}")


class _Beginning:
    """Remembers a body that is short."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def update(self, chunk: Buffer) -> None:
        if self._size <= _RESULT_BYTES:
            self._parts.append(bytes(chunk))
            self._size += len(self._parts[-1])

    def finish(self) -> None:
        pass

    def all(self) -> bytes | None:
        """The whole body, None if it was not short."""
        return b"".join(self._parts) if self._size <= _RESULT_BYTES else None


class _JsonResult(_Beginning):
    """A result in JSON has to be one."""

    def finish(self) -> None:
        body = self.all()
        try:
            if body is None:
                raise ValueError("it is too long")
            from_json(wire.ActionResult, body)
        except ValueError as error:
            raise Refused(Refusal.MALFORMED, f"the body is no action result in JSON: {error}") from error


# -- contents ------------------------------------------------------------------------------


async def _get_content(exchange: Exchange, name: str) -> None:
    found = results.NOTHING if name in results.EMPTY else await exchange.find(CONTENTS, name)
    if found is None:
        await exchange.absent()
    elif exchange.method == "GET" and found.size_bytes in _ZSTD_BYTES and _takes(exchange, "zstd"):
        encoding, body = await exchange.desk.run(_zstd, found)
        exchange.hit(found)
        await exchange.answer(200, body, (("content-type", "application/octet-stream"), *encoding))
    else:
        await exchange.send(found)


async def _put_content(exchange: Exchange, name: str) -> None:
    """A content that is there is not looked at: Bazel sends all outputs again, each time."""
    exchange.caller.require_write()
    if name not in results.EMPTY and await exchange.find(CONTENTS, name) is not None:
        await exchange.discard()
    else:
        check = DigestCheck(name)
        await exchange.keep(CONTENTS, name, checks=(check,), inspector=check, decode=_decoder(exchange))
    await exchange.answer(200)


def _zstd(found: Found) -> tuple[tuple[Header, ...], Buffer]:
    """The content as Zstandard, or as it is where that is no shorter."""
    body = b"".join(zstd_pieces(found.body))
    return ((("content-encoding", "zstd"),), body) if len(body) < found.size_bytes else ((), found.body)


def _decoder(exchange: Exchange) -> Callable[[bytes], bytes] | None:
    """What unpacks the body that is coming, None for one that comes as it is.

    Raises:
        Refused: it is packed by something else than Zstandard, or its size is no number.
    """
    packing = exchange.header("content-encoding")
    if packing in (None, "", "identity"):
        return None
    if packing != "zstd":
        raise Refused(Refusal.MALFORMED, f"Content-Encoding: {packing!r:.40} is not taken, only zstd")
    text = exchange.header("x-digest-sizebytes") or str(exchange.desk.limit_bytes)
    size = whole_number(text)
    if size is None:
        raise Refused(Refusal.MALFORMED, f"X-Digest-SizeBytes: {text!r:.40} is not a number")
    return _Unpacking(min(size, exchange.desk.limit_bytes)).decode


class _Unpacking:
    """Unpacks a body as it comes, and no more than it may be. That it is whole is left to its digest."""

    def __init__(self, limit_bytes: int) -> None:
        self._left = limit_bytes
        self._steps = ZstdSteps(self._take)
        self._parts: list[bytes] = []
        self._burst = 0

    def decode(self, chunk: bytes) -> bytes:
        self._parts, self._burst = [], _BURST_BYTES
        try:
            self._steps.update(memoryview(chunk))
        except ValueError as error:
            raise Refused(Refusal.MALFORMED, f"the body is no sound zstd: {error}") from error
        return b"".join(self._parts)

    def _take(self, content: bytes) -> None:
        self._left -= len(content)
        self._burst -= len(content)
        if self._left < 0 or self._burst < 0:
            raise Refused(Refusal.TOO_LARGE, "the body unpacks to more than it may")
        self._parts.append(content)


# -- results -------------------------------------------------------------------------------


async def _get_result(exchange: Exchange, name: str) -> None:
    """A result is served if all is there that it refers to; what is no result at all, as it is."""
    found = await exchange.find(RESULTS, name)
    if found is None:
        await exchange.absent()
        return
    is_json = found.meta.get(_FORM) == _JSON
    result = _parsed(found, is_json=is_json)
    if result is not None and not await _is_whole(exchange, result):
        await exchange.absent()
        return
    wants_json = _takes(exchange, _JSON, header="accept")
    if result is None or wants_json == is_json:
        await exchange.send(found, (("content-type", _JSON),) if is_json else ())
        return
    exchange.hit(found)
    if wants_json:
        await exchange.answer(200, to_json(result), (("content-type", _JSON),))
    else:
        body = result.SerializeToString()
        await exchange.answer(200, body, (("content-type", "application/octet-stream"),))


async def _put_result(exchange: Exchange, name: str) -> None:
    results.require_results(exchange.caller)
    if (exchange.header("content-type") or "").partition(";")[0].strip() == _JSON:
        await exchange.keep(RESULTS, name, checks=(_JsonResult(),), meta={_FORM: _JSON})
    else:
        seen = _Beginning()
        await exchange.keep(RESULTS, name, checks=(seen,), cost_ns=lambda: _cost_ns(seen.all()))
    await exchange.answer(200)


async def _is_whole(exchange: Exchange, result: wire.ActionResult) -> bool:
    vault, namespace = exchange.desk.vault, exchange.caller.namespace
    is_quick = vault.is_local and len(result.output_files) <= _FEW and not result.output_directories
    if is_quick and all(each.size_bytes <= _SHORT_BYTES for each in results.references(result)):
        return results.is_whole(vault, namespace, result)
    is_whole: bool = await exchange.desk.run(results.is_whole, vault, namespace, result)
    return is_whole


def _parsed(found: Found, *, is_json: bool) -> wire.ActionResult | None:
    """The result that a value is, or None: ccache keeps its own here."""
    if found.size_bytes > _RESULT_BYTES:
        return None
    try:
        return (from_json if is_json else from_bytes)(wire.ActionResult, bytes(found.body))
    except ValueError:
        return None


def _cost_ns(body: bytes | None) -> int:
    try:
        return 0 if body is None else results.cost_ns(from_bytes(wire.ActionResult, body))
    except ValueError:
        return 0


def _takes(exchange: Exchange, word: str, *, header: str = "accept-encoding") -> bool:
    """Whether a list in a header has a word, not refused by `q=0`."""
    for part in (exchange.header(header) or "").split(","):
        name, _, quality = part.partition(";")
        if name.strip().lower() == word:
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _status() -> bytes:
    """What bazel-remote's status has, as far as everybody may know it."""
    return json.dumps({"Server": f"vcache/{version('vcache')}", "ServerTime": int(time.time())}).encode()
