"""Records as action results."""

from __future__ import annotations

import hashlib

import pytest

from vcache.entry import make_key
from vcache.errors import DecodeError
from vcache.hash import digest
from vcache.store import actions
from vcache.store.actions import Blob, Pieces
from vcache.testing.records import body_of, make_record
from vcache.wire import reapi_pb2 as wire

KEY = make_key("k")


def test_an_action_is_named_by_the_key() -> None:
    """The name is the SHA-256 of "vcache", a NUL and the key; where a server asks for it, BLAKE3."""
    name = b"vcache\0" + KEY
    assert actions.action_of(KEY) == Blob(hashlib.sha256(name).hexdigest(), len(name))
    assert actions.action_of(KEY, hashed=actions.blake3_hex).hash == digest(name).hex()


@pytest.mark.parametrize("size_bytes", [0, 1, 32 << 10])
def test_a_short_body_is_in_the_result(size_bytes: int) -> None:
    """Up to 32 KiB there is no blob."""
    content = body_of(size_bytes)
    record = make_record(KEY, content)
    data, blob = actions.result_of(record)
    assert blob is None
    assert actions.read(KEY, data) == Pieces(record.head, content)


def test_a_long_body_is_a_blob() -> None:
    """Above, the result names it by its SHA-256 as the file `body`."""
    content = body_of((32 << 10) + 1)
    record = make_record(KEY, content)
    data, blob = actions.result_of(record)
    assert blob == Blob(hashlib.sha256(content).hexdigest(), len(content))
    assert actions.read(KEY, data) == Pieces(record.head, blob)
    assert wire.ActionResult.FromString(data).output_files[0].path == "body"


def test_a_deleted_record_is_none() -> None:
    """What was deleted reads as absent."""
    assert actions.read(KEY, actions.deleted()) is None


def test_a_result_whose_pieces_the_server_moved_is_understood() -> None:
    """Inline texts may come back as digests, and a file with its contents."""
    record = make_record(KEY, b"body")
    named = wire.Digest(hash="ab" * 32, size_bytes=len(record.head))
    moved = wire.ActionResult(stdout_digest=named, stderr_digest=wire.Digest(hash="cd" * 32, size_bytes=4))
    assert actions.pieces(KEY, moved) == Pieces(Blob("ab" * 32, len(record.head)), Blob("cd" * 32, 4))
    file = wire.OutputFile(path="body", contents=b"body", digest=wire.Digest(hash="cd" * 32, size_bytes=4))
    moved = wire.ActionResult(stdout_raw=record.head, output_files=[file])
    assert actions.pieces(KEY, moved) == Pieces(record.head, b"body")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff",
        b"",
        wire.ActionResult(stdout_raw=b"hello\n").SerializeToString(),
        wire.ActionResult(stdout_raw=make_record(make_key("other")).head).SerializeToString(),
        wire.ActionResult(
            stdout_raw=make_record(KEY).head, output_files=[wire.OutputFile(path="a.out")]
        ).SerializeToString(),
        wire.ActionResult(stdout_digest=wire.Digest(hash="ab", size_bytes=1 << 40)).SerializeToString(),
        wire.ActionResult(stdout_digest=wire.Digest(hash="ab", size_bytes=-1)).SerializeToString(),
    ],
    ids=["noise", "empty", "a tool's", "another key's", "a tool's file", "huge", "negative"],
)
def test_other_results_are_no_records(data: bytes) -> None:
    """What a tool's own action gave, and anything malformed, is refused."""
    with pytest.raises(DecodeError):
        actions.read(KEY, data)
