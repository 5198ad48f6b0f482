"""Which bodies are whole."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.unit.server.dialects.bodies import zipped
from vcache.server.framing import GzipCheck, ZipInspector, ZstdCheck
from vcache.server.refused import Refused

CONTENT = random.Random(4).randbytes(200_000) + b"\0" * 300_000

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "zstd": lambda content: zstandard.ZstdCompressor(write_checksum=True).compress(content),
}
CHECKS: dict[str, type[GzipCheck | ZstdCheck]] = {"gzip": GzipCheck, "zstd": ZstdCheck}
FORMATS = sorted(PACK)


def look(kind: str, body: bytes, piece: int = 65_536, **options: int) -> GzipCheck | ZstdCheck:
    check: GzipCheck | ZstdCheck = CHECKS[kind](**options)
    for start in range(0, len(body), piece):
        check.update(body[start : start + piece])
    check.finish()
    return check


@pytest.mark.parametrize("piece", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_whole_body_is_taken_however_it_comes(kind: str, piece: int) -> None:
    """In single bytes or all at once: one frame or two in a row."""
    content = CONTENT[199_000:202_000] if piece < 4096 else CONTENT
    body = PACK[kind](content)
    assert look(kind, body + body, piece).seen_bytes == 2 * len(content)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_truncation_is_refused(kind: str) -> None:
    """A body that ends early, wherever, is no body."""
    body = PACK[kind](b"some words, " * 20)
    for size in range(len(body)):
        with pytest.raises(Refused, match=r"cut off|no sound"):
            look(kind, body[:size])


@pytest.mark.parametrize("kind", FORMATS)
def test_flipped_bits_and_bytes_behind_are_refused(kind: str) -> None:
    """What does not give the checksum back, and what is no frame behind one."""
    body = PACK[kind](CONTENT)
    for place in (100, len(body) // 2, len(body) - 5):
        damaged = bytearray(body)
        damaged[place] ^= 0x10
        with pytest.raises(Refused):
            look(kind, bytes(damaged))
    for behind in (b"\0", b"junk that goes on for a while"):
        with pytest.raises(Refused):
            look(kind, body + behind)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_bomb_is_looked_at_up_to_the_bound_only(kind: str) -> None:
    """Beyond the bound nothing is unpacked, and nothing is held against the body."""
    bomb = PACK[kind](bytes(64 << 20))
    assert len(bomb) < 100_000
    check = look(kind, bomb, slack_bytes=1 << 20)
    assert check.seen_bytes <= 40 << 20  # 100 times what came, the slack, and one step


@pytest.mark.parametrize("kind", FORMATS)
def test_the_beginning_of_the_content_is_remembered(kind: str) -> None:
    """As much of it as was asked for."""
    check = look(kind, PACK[kind](CONTENT), piece=1000, head_bytes=5000)
    assert check.head == CONTENT[:5000]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("as_file", [False, True])
def test_a_sound_zip_is_taken(tmp_path: Path, method: int, as_file: bool) -> None:
    """In memory or in a file, with members or without."""
    for members in ({"obj": CONTENT, "stdout": b""}, {"one": b"1"}):
        ZipInspector().inspect(placed(tmp_path, zipped(members, method), as_file))


@pytest.mark.parametrize("as_file", [False, True])
def test_a_damaged_zip_is_refused(tmp_path: Path, as_file: bool) -> None:
    """Cut off, a member changed, something before or behind it."""
    body = zipped({"obj": CONTENT[:5000], "stdout": b"warning"})
    changed = bytearray(body)
    changed[200] ^= 1
    for bad in (body[:-1], body[:3000], bytes(changed), body + b"x", body[:40] + body):
        with pytest.raises(Refused, match="no sound zip"):
            ZipInspector().inspect(placed(tmp_path, bad, as_file))


def test_what_is_no_zip_is_not_looked_at() -> None:
    """Other content is another's business."""
    ZipInspector().inspect(b"Hello, World!")
    ZipInspector().inspect(b"")


def test_a_zip_that_says_too_much_of_itself_is_not_unpacked() -> None:
    """The members beyond the bound are left alone, as in a bomb."""
    small, large = {"small": b"1" * 5000}, {"large": bytes(1 << 20)}
    body = bytearray(zipped({**small, **large}, zipfile.ZIP_DEFLATED))
    body[body.index(b"large") + 10] ^= 0xFF  # inside the large member
    with pytest.raises(Refused):
        ZipInspector().inspect(bytes(body))
    ZipInspector(slack_bytes=0).inspect(bytes(body))


def test_a_directory_without_end_is_not_read() -> None:
    """Each member would take a hundred times its bytes here."""
    body = bytearray(zipped({"a": b"1"}))
    body[-10:-6] = (1 << 30).to_bytes(4, "little")
    ZipInspector().inspect(bytes(body))


def test_a_zip_with_a_comment_is_taken() -> None:
    """It ends where the comment does, and nowhere else."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", "1")
        archive.comment = b"made by somebody"
    ZipInspector().inspect(stream.getvalue())
    for bad in (stream.getvalue()[:-1], stream.getvalue() + b"!"):
        with pytest.raises(Refused, match="its end is missing"):
            ZipInspector().inspect(bad)


def placed(tmp_path: Path, body: bytes, as_file: bool) -> bytes | Path:
    if not as_file:
        return body
    path = tmp_path / "body"
    path.write_bytes(body)
    return path
