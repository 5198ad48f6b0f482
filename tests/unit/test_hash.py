"""Hash functions against published test vectors and against themselves."""

from __future__ import annotations

import os
import signal
import sys
import zlib
from pathlib import Path

import pytest

from vcache import hash as hashes
from vcache.errors import ConfigError

# https://github.com/BLAKE3-team/BLAKE3, test_vectors.json: input is 0, 1, … 250, 0, 1, …
VECTORS = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    102400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
}


@pytest.mark.parametrize("length", VECTORS)
def test_digest_is_blake3(tmp_path, length):
    """Content is named by plain BLAKE3, from memory, from parts and from a file."""
    data = bytes(n % 251 for n in range(length))
    expected = bytes.fromhex(VECTORS[length])
    assert (
        hashes.digest(data) == hashes.digest(memoryview(data)) == hashes.digest(bytearray(data)) == expected
    )
    hasher = hashes.Hasher()
    for at in range(0, length, 700):
        hasher.update(data[at : at + 700])
    assert hasher.digest() == expected
    path = tmp_path / "f"
    path.write_bytes(data)
    assert hashes.file_digest(path, size_bytes=length) == expected
    assert len(expected) == hashes.DIGEST_BYTES


@pytest.mark.parametrize("size_bytes", [127 << 10, 128 << 10, (4 << 20) - 1, 4 << 20])
def test_threads_and_mappings_change_nothing(tmp_path, size_bytes):
    """Around the sizes where the way of reading changes, the digest is one."""
    data = os.urandom(size_bytes)
    path = tmp_path / "f"
    path.write_bytes(data)
    plain = hashes.Hasher(data).digest()
    assert hashes.digest(data) == plain
    for claimed in (0, size_bytes, 1 << 30):  # the size only chooses how
        assert hashes.file_digest(str(path), size_bytes=claimed) == plain


def test_a_missing_file_is_an_os_error(tmp_path):
    """Who asks for a file's digest hears why there is none."""
    for size in (0, 1 << 20):
        with pytest.raises(FileNotFoundError):
            hashes.file_digest(tmp_path / "absent", size_bytes=size)


def test_foreign_digests_are_those_of_their_standards():
    """SHA-256 as in FIPS 180-4, MD5 as in RFC 1321; parts count as one."""
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hashes.sha256(b"abc").hex() == hashes.sha256(b"a", memoryview(b"bc"), b"").hex() == sha256
    assert hashes.sha256().hex().startswith("e3b0c44298fc1c149afbf4c8996fb924")
    assert hashes.md5(b"abc") == hashes.md5(bytearray(b"ab"), b"c")
    assert hashes.md5(b"abc").hex() == "900150983cd24fb0d6963f7d28e17f72"


def test_the_checksum_finds_every_flipped_bit():
    """No single-bit error keeps the checksum; parts and whole agree."""
    data = bytearray(os.urandom(200))
    whole = hashes.checksum(data)
    assert len(whole) == 16
    assert hashes.checksum_parts([data[:7], b"", data[7:]]) == whole
    for bit in range(len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        assert hashes.checksum(data) != whole
        data[bit // 8] ^= 1 << bit % 8


def test_known_values_of_the_fast_hashes():
    """xxh3 as published (https://github.com/Cyan4973/xxHash, sanity tests of the empty input)."""
    assert hashes.checksum(b"").hex() == "99aa06d3014798d86001c324468d497f"
    assert hashes.placement(b"") == 0x2D06800538D394C2


def test_checks_of_foreign_formats():
    """crc32, adler32 and murmur3 give the published values."""
    assert hashes.crc32(b"123456789") == 0xCBF43926 == zlib.crc32(b"123456789")
    assert hashes.adler32(b"Wikipedia") == 0x11E60398
    assert hashes.murmur3(b"") == 0
    assert hashes.murmur3(b"", seed=1) == 0x514E28B7
    assert hashes.murmur3(b"hello, world") == 0x149BBB7F


def test_a_missing_extra_names_its_remedy(monkeypatch):
    """Without its package murmur3 says what to install."""
    monkeypatch.setitem(sys.modules, "mmh3", None)
    with pytest.raises(ConfigError, match=r"pip install 'vcache\[murmur3\]'"):
        hashes.murmur3(b"")


def test_a_fork_hashes_large_contents_without_its_parents_threads(tmp_path: Path) -> None:
    """The threads that a process hashes with are not in its forks, which would wait for them for ever."""
    data = bytes(40 << 20)
    expected = hashes.digest(data)
    (tmp_path / "large").write_bytes(data)
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        os._exit(
            hashes.digest(data) != expected
            or hashes.file_digest(tmp_path / "large", size_bytes=len(data)) != expected
        )
    assert os.waitpid(pid, 0)[1] == 0
