"""Entries that no honest writer makes: bombs, false claims, outputs that would leave the root."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lz4.frame
import pytest
import zstandard

from tests.faults.crew import Child
from vcache import Cache
from vcache.entry import Encoding, Entry, Key, Record, make_key
from vcache.errors import UnsafePath
from vcache.hash import digest
from vcache.outcome import Hit, Miss, Reason
from vcache.store.disk import DiskStore
from vcache.testing.records import body_of

GIB: Final = 1 << 30
BODY_BYTES: Final = 4 << 20
# What a refusal may take on top of what the process has: the body, mapped or read, and some buffers.
ROOM_BYTES: Final = 160 << 20


def zeros(size_bytes: int, write: Callable[[bytes], bytes], flush: Callable[[], bytes]) -> bytes:
    """A packed body that unpacks to so many zeros."""
    pieces = [write(bytes(1 << 20)) for _ in range(size_bytes >> 20)]
    return b"".join([*pieces, flush()])


def zstd_bomb(claims_bytes: int) -> bytes:
    """A frame of 1 GiB of zeros whose header claims it."""
    packer = zstandard.ZstdCompressor(level=1).compressobj(size=GIB)
    return zeros(GIB, packer.compress, packer.flush)


def zstd_lie(claims_bytes: int) -> bytes:
    """4 MiB whose frame header claims more than it holds."""
    frame = bytearray(zstandard.ZstdCompressor(level=1).compress(body_of(BODY_BYTES)))
    header = zstandard.get_frame_parameters(bytes(frame))
    assert header.content_size == BODY_BYTES
    at = bytes(frame).index(BODY_BYTES.to_bytes(4, "little"))
    frame[at : at + 4] = claims_bytes.to_bytes(4, "little")
    return bytes(frame)


def lz4_bomb(claims_bytes: int) -> bytes:
    """4 MiB of LZ4 frame that unpack to about 1 GiB of zeros."""
    packer = lz4.frame.LZ4FrameCompressor(block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    return bytes(packer.begin()) + zeros(GIB, packer.compress, packer.flush)


def noise(claims_bytes: int) -> bytes:
    """4 MiB of nothing."""
    return body_of(BODY_BYTES)


@pytest.mark.parametrize(
    ("encoding", "body", "claims_bytes"),
    [
        (Encoding.ZSTD, noise, GIB),
        (Encoding.ZSTD, zstd_lie, GIB),
        (Encoding.ZSTD, zstd_bomb, BODY_BYTES),
        (Encoding.ZSTD, zstd_bomb, 3),
        (Encoding.LZ4, noise, GIB),
        (Encoding.LZ4, lz4_bomb, BODY_BYTES),
        (Encoding.LZ4, lz4_bomb, 3),
        (Encoding.LZ4, noise, 60_000),
    ],
)
@pytest.mark.parametrize("codec", ["bytes", "msgpack"])
def test_a_body_that_claims_more_than_it_holds_is_refused_in_bounded_memory(
    tmp_path: Path, encoding: Encoding, body: Callable[[int], bytes], claims_bytes: int, codec: str
) -> None:
    """A body of some MB that claims, or unpacks to, 1 GiB is a miss that takes little memory."""
    key = make_key("bomb")
    packed = body(claims_bytes)
    entry = Entry(
        key, digest(b"whatever"), claims_bytes, codec=codec, encoding=encoding, created_ns=1, cost_ns=1
    )
    store = DiskStore(tmp_path / "cache")
    store.put(key, Record(entry.encode(), packed))  # with a checksum that is right
    store.close()

    def work(_: int) -> None:
        with Cache(tmp_path / "cache") as cache:
            with open("/proc/self/statm") as file:
                now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            limit = now + ROOM_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            outcome = cache.lookup("bomb")
            assert isinstance(outcome, Miss)
            assert outcome.reason is Reason.CORRUPT
            assert cache.get("bomb", "refused") == "refused"
            assert cache.put("bomb", "healed")
            assert cache.get("bomb") == "healed"

    Child(work).finish(30)


# -- outputs ---------------------------------------------------------------------------------


def result_of(cache: Cache) -> tuple[Key, dict[str, object]]:
    """The one stored result that promises files."""
    for key in cache.store.scan():
        found = cache.peek_key(key)
        if isinstance(found, Hit) and isinstance(found.value, dict) and "files" in found.value:
            return key, found.value
    raise AssertionError("no result promises files")


def built(root: Path, directory: Path) -> tuple[Cache, Callable[[], object], list[int]]:
    """A cache with the result of a step that makes `out/made`, the step, and how often it ran."""
    cache = Cache(directory, root=root)
    runs: list[int] = []

    @cache.step(outs=["out/made"], code="none")
    def build() -> str:
        runs.append(1)
        (root / "out").mkdir(exist_ok=True)
        (root / "out" / "made").write_text("honest")
        return "built"

    assert build() == "built"
    assert build() == "built"
    assert len(runs) == 1
    return cache, build, runs


def forge(cache: Cache, name: object, mode: object, content: object) -> None:
    """Let the stored result promise another file, whose content is there."""
    key, value = result_of(cache)
    named = content
    if isinstance(content, bytes):
        named = digest(content)
        assert cache.put_key(make_key(named, namespace=".outputs"), content)
    assert cache.put_key(key, {**value, "files": [[name, mode, named]]})


@pytest.mark.parametrize("size_bytes", [20, 300_000])
@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "out/../../evil",
        "/evil",
        "{outside}/evil",
        "out//../../evil",
        "./../evil",
        "..",
        "",
    ],
)
def test_an_output_name_that_leaves_the_root_is_refused(tmp_path: Path, name: str, size_bytes: int) -> None:
    """A stored name with .. in it, or an absolute one, writes nothing anywhere."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    cache, build, _ = built(root, tmp_path / "cache")
    (root / "out" / "link").symlink_to(outside)
    forge(cache, name.format(outside=outside), 0o644, body_of(size_bytes))
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    with pytest.raises(UnsafePath):
        build()
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before
    assert not Path("/evil").exists()
    assert list(outside.iterdir()) == []
    cache.close()


@pytest.mark.parametrize("size_bytes", [20, 300_000])
@pytest.mark.parametrize("name", ["out/link/evil", "out/evil", "evil"])
def test_an_output_that_nobody_declared_is_not_written(tmp_path: Path, name: str, size_bytes: int) -> None:
    """A stored result with other files than the step's is none, also where a link leads out of the root."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    cache, build, runs = built(root, tmp_path / "cache")
    (root / "out" / "link").symlink_to(outside)
    forge(cache, name, 0o644, body_of(size_bytes))
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    assert build() == "built"
    assert len(runs) == 2
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before
    cache.close()


def test_an_output_below_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    """Where a directory on the way was turned into a link out of the root, nothing is written there."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    cache, build, _ = built(root, tmp_path / "cache")
    (root / "out" / "made").unlink()
    (root / "out").rmdir()
    (root / "out").symlink_to(outside)
    with pytest.raises(UnsafePath, match="out/made"):
        build()
    assert list(outside.iterdir()) == []
    cache.close()


def test_a_link_in_the_place_of_an_output_is_replaced(tmp_path: Path) -> None:
    """What a link out of the root leads to stays as it is: the output takes the place of the link."""
    root = tmp_path / "root"
    root.mkdir()
    cache, build, runs = built(root, tmp_path / "cache")
    (tmp_path / "precious").write_text("precious")
    (root / "out" / "made").unlink()
    (root / "out" / "made").symlink_to(tmp_path / "precious")
    assert build() == "built"
    assert len(runs) == 1
    assert (tmp_path / "precious").read_text() == "precious"
    assert (root / "out" / "made").read_text() == "honest"
    assert not (root / "out" / "made").is_symlink()
    cache.close()


def test_a_stored_link_is_not_written_through(tmp_path: Path) -> None:
    """A stored result that makes a link and then writes below it is none."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    cache, build, runs = built(root, tmp_path / "cache")
    key, value = result_of(cache)
    evil = digest(b"evil")
    assert cache.put_key(make_key(evil, namespace=".outputs"), b"evil")
    link = ["out/made", 0o120000, bytes(outside)]
    assert cache.put_key(key, {**value, "files": [link, ["out/made/evil", 0o644, evil]]})
    assert build() == "built"
    assert len(runs) == 2
    assert list(outside.iterdir()) == []
    cache.close()


def test_a_stored_mode_gives_no_privileges(tmp_path: Path) -> None:
    """Set-uid, set-gid and sticky bits of a stored mode are not given back."""
    root = tmp_path / "root"
    root.mkdir()
    cache, build, _ = built(root, tmp_path / "cache")
    forge(cache, "out/made", 0o7755, b"#!/bin/sh\n")
    assert build() == "built"
    assert (root / "out" / "made").stat().st_mode & 0o7777 == 0o755
    cache.close()


def test_an_output_whose_content_is_another_is_not_restored(tmp_path: Path) -> None:
    """A content stored under a digest that is not its own does not reach the root."""
    root = tmp_path / "root"
    root.mkdir()
    cache, build, runs = built(root, tmp_path / "cache")
    key = make_key(digest(b"promised"), namespace=".outputs")
    assert cache.put_key(key, b"something else")
    _, value = result_of(cache)
    assert cache.put_key(result_of(cache)[0], {**value, "files": [["out/made", 0o644, digest(b"promised")]]})
    assert build() == "built"
    assert len(runs) == 2
    assert (root / "out" / "made").read_text() == "honest"
    cache.close()


@pytest.mark.parametrize("files", ["out/made", 7, None, {"out/made": 0o644}])
def test_a_result_of_another_shape_is_a_miss(tmp_path: Path, files: object) -> None:
    """A stored promise that is no list of files is computed anew."""
    root = tmp_path / "root"
    root.mkdir()
    cache, build, runs = built(root, tmp_path / "cache")
    key, value = result_of(cache)
    assert cache.put_key(key, {**value, "files": files})
    assert build() == "built"
    assert len(runs) == 2
    cache.close()
