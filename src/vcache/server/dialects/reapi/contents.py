"""ContentAddressableStorage: what is missing, small contents many at once, trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vcache.hash import digest, sha256
from vcache.serialize.foreign import ZstdSteps, zstd_pieces
from vcache.server import results
from vcache.server.dialects.reapi.actions import BATCH_BYTES
from vcache.server.dialects.reapi.calls import Call
from vcache.server.refused import Refusal, Refused
from vcache.server.results import CONTENTS, HASH
from vcache.wire import reapi_pb2 as wire
from vcache.wire.text import from_bytes

__all__ = ["batch_read", "batch_update", "find_missing", "get_tree", "is_named", "unpacked"]

_OK, _INVALID, _NOT_FOUND, _DENIED, _FULL, _INTERNAL = 0, 3, 5, 7, 8, 13
_CODES: Final = {
    Refusal.MALFORMED: _INVALID,
    Refusal.TOO_LARGE: _INVALID,
    Refusal.FORBIDDEN: _DENIED,
    Refusal.FULL: _FULL,
}
_ZSTD_BYTES: Final = 1 << 10  # of less it saves nothing
# A message is short; what is packed in it could stand for thousands of times as much.
_MOST_UNPACKED_BYTES: Final = 64 << 20
_DIRECTORIES: Final = 500  # in one message of a tree
_MOST_DIRECTORIES: Final = 1_000_000


def find_missing(request: wire.FindMissingBlobsRequest, call: Call) -> wire.FindMissingBlobsResponse:
    """Which contents are not there; the others count as used."""
    vault, namespace = call.desk.vault, call.caller.namespace
    asked: dict[str, wire.Digest] = {}
    for named in request.blob_digests:
        _require(named)
        if named.hash not in results.EMPTY:
            asked[named.hash] = named
    missing = set(vault.missing(namespace, CONTENTS, list(asked)))
    return wire.FindMissingBlobsResponse(
        missing_blob_digests=[named for name, named in asked.items() if name in missing]
    )


def batch_update(request: wire.BatchUpdateBlobsRequest, call: Call) -> wire.BatchUpdateBlobsResponse:
    """Keep contents; each has a status of its own."""
    call.caller.require_write()
    answer = wire.BatchUpdateBlobsResponse(
        responses=[
            wire.BatchUpdateBlobsResponse.Response(digest=each.digest, status=_kept(each, call))
            for each in request.requests
        ]
    )
    if len(call.refused) < len(request.requests):
        call.outcome = "put"
    return answer


def _kept(each: wire.BatchUpdateBlobsRequest.Request, call: Call) -> wire.Status:
    call.in_bytes += len(each.data)
    try:
        _require(each.digest)
        content = each.data
        if each.compressor == wire.ZSTD:
            content = unpacked(
                each.data, min(each.digest.size_bytes, _MOST_UNPACKED_BYTES, call.desk.limit_bytes)
            )
        elif each.compressor != wire.IDENTITY:
            raise Refused(Refusal.MALFORMED, "contents are packed as zstd only")
        if len(content) != each.digest.size_bytes or not is_named(each.digest.hash, content):
            raise Refused(Refusal.MALFORMED, f"the content is not {each.digest.hash}")
        _keep(each.digest.hash, content, call)
    except Refused as refused:
        call.refused.append(refused.kind)
        return wire.Status(code=_CODES.get(refused.kind, _INTERNAL), message=str(refused))
    return wire.Status()


def _keep(name: str, content: bytes, call: Call) -> None:
    vault, namespace = call.desk.vault, call.caller.namespace
    if results.content(vault, namespace, name) is not None:
        return
    call.desk.admit(call.caller, len(content))
    kept = vault.put(namespace, CONTENTS, name, content)
    call.desk.note(call.caller, "put", "reapi", CONTENTS, name, kept)


def batch_read(request: wire.BatchReadBlobsRequest, call: Call) -> wire.BatchReadBlobsResponse:
    """Contents, each with a status of its own; all together no longer than a message.

    Raises:
        Refused: they are longer.
    """
    for named in request.digests:
        _require(named)
    if sum(named.size_bytes for named in request.digests) > BATCH_BYTES:
        raise Refused(Refusal.MALFORMED, f"more than {BATCH_BYTES} bytes are asked for at once")
    takes_zstd = wire.ZSTD in request.acceptable_compressors
    answer = wire.BatchReadBlobsResponse()
    left = BATCH_BYTES
    call.outcome = "hit"
    for named in request.digests:
        found = results.content(call.desk.vault, call.caller.namespace, named.hash)
        each = answer.responses.add(digest=named)
        # The size that was asked for is the client's word: the sum above has to hold of what is sent.
        if found is None or found.size_bytes != named.size_bytes or found.size_bytes > left:
            each.status.code, each.status.message = _NOT_FOUND, "not found"
            call.outcome = "miss"
            continue
        left -= found.size_bytes
        packed = b"".join(zstd_pieces(found.body)) if takes_zstd and found.size_bytes >= _ZSTD_BYTES else None
        if packed is not None and len(packed) < found.size_bytes:
            each.data, each.compressor = packed, wire.ZSTD
        else:
            each.data = bytes(found.body)
        call.out_bytes += len(each.data)
    return answer


def get_tree(request: wire.GetTreeRequest, call: Call) -> Iterator[wire.GetTreeResponse]:
    """A directory and all below it, in one go; what is missing below is left out.

    Raises:
        Refused: the root is not there, or is no directory.
    """
    _require(request.root_digest)
    if request.page_token:
        raise Refused(Refusal.MALFORMED, "there are no pages here: nobody has given that token")
    walked = {request.root_digest.hash}
    todo = [request.root_digest.hash]
    part = wire.GetTreeResponse()
    is_root = True
    while todo:
        found = results.content(call.desk.vault, call.caller.namespace, todo.pop())
        if found is not None and found.size_bytes > results.MOST_TREE_BYTES:
            found = None
        try:
            directory = None if found is None else from_bytes(wire.Directory, bytes(found.body))
        except ValueError as error:
            raise Refused(Refusal.MALFORMED, str(error)) from error
        if directory is None:
            if is_root:
                raise Refused(Refusal.ABSENT, f"no directory {request.root_digest.hash}")
            continue
        is_root = False
        part.directories.append(directory)
        below = dict.fromkeys(each.digest.hash for each in directory.directories)
        fresh = [name for name in below if name not in walked][: _MOST_DIRECTORIES - len(walked)]
        walked.update(fresh)
        todo += reversed(fresh)
        if len(part.directories) >= _DIRECTORIES or part.ByteSize() > BATCH_BYTES // 2:
            call.out_bytes += part.ByteSize()
            yield part
            part = wire.GetTreeResponse()
    call.out_bytes += part.ByteSize()
    yield part


def is_named(name: str, content: bytes) -> bool:
    """Whether a content has a digest: SHA-256, or else BLAKE3."""
    return name in (sha256(content).hex(), digest(content).hex())


def unpacked(data: bytes, limit_bytes: int) -> bytes:
    """The content of one packed piece.

    Raises:
        Refused: damaged, cut off, or longer than it may be.
    """
    parts: list[bytes] = []
    size = 0

    def take(part: bytes) -> None:
        nonlocal size
        size += len(part)
        if size > limit_bytes:
            raise Refused(Refusal.MALFORMED, "a content unpacks to more than its digest says")
        parts.append(part)

    steps = ZstdSteps(take)
    try:
        steps.update(memoryview(data))
    except ValueError as error:
        raise Refused(Refusal.MALFORMED, f"no sound zstd: {error}") from error
    if not steps.is_between:
        raise Refused(Refusal.MALFORMED, "zstd that was cut off")
    return b"".join(parts)


def _require(named: wire.Digest) -> None:
    if not HASH.fullmatch(named.hash) or named.size_bytes < 0:
        raise Refused(
            Refusal.MALFORMED, f"{named.hash!r:.80} of {named.size_bytes} bytes is no SHA-256 or BLAKE3"
        )
