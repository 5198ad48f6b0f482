"""Paths by number, and which of them are not as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.dag.trees import late_clock
from vcache.dag.frozen import Left
from vcache.dag.things import SIGNATURE_BYTES, Things
from vcache.fingerprint.digests import FileDigests, signature
from vcache.hash import digest


def _things(base: Path, *names: str) -> Things:
    things = Things(os.fspath(base))
    for name in names:
        path = base / name
        number = things.number(name)
        things.set(number, digest(path.read_bytes()), signature(path.stat()))
    return things


def test_one_path_has_one_number(tmp_path: Path) -> None:
    """however it is spelled"""
    things = Things(os.fspath(tmp_path))
    assert things.number("a/b") == 0
    for path in (f"{tmp_path}/a/b", "./a/b", "a/../a/b", "a//b", f"{tmp_path}/./a/b", "a/b/"):
        assert things.number(path) == 0
    assert things.number("../x") == things.number(os.fspath(tmp_path.parent / "x")) == 1
    assert things.number(".") == things.number(os.fspath(tmp_path)) == 2
    assert things.number(".hidden/caf\udce9") == 3
    assert [things.full(number) for number in range(4)] == [
        f"{tmp_path}/a/b", f"{tmp_path.parent}/x", os.fspath(tmp_path), f"{tmp_path}/.hidden/caf\udce9",
    ]  # fmt: skip
    assert things.find("a/b") == 0
    assert things.find("a/c") is None
    assert len(things) == 4


def test_columns_come_back(tmp_path: Path) -> None:
    """identities and signatures, of all and of some"""
    for name in "abc":
        (tmp_path / name).write_text(name)
    things = _things(tmp_path, "a", "b", "c")
    things.set(1, b"", b"")
    again = Things(os.fspath(tmp_path), things.paths, bytes(things.identities), bytes(things.hints))
    assert [again.identity(at) for at in range(3)] == [digest(b"a"), b"", digest(b"c")]
    assert [len(again.hint(at)) for at in range(3)] == [SIGNATURE_BYTES, 0, SIGNATURE_BYTES]
    assert again.unsettled() == {1}
    assert again.hints_of([0, 2]) == again.hint(0) + again.hint(2)
    assert again.hints_of([0, 1, 2]) == bytes(things.hints)
    other = Things(os.fspath(tmp_path), [b"new", b"c"])
    other.adopt(again)
    assert [other.identity(at) for at in range(2)] == [b"", digest(b"c")]


@pytest.mark.parametrize("is_here", [True, False])
@pytest.mark.parametrize("count", [5, 7000])
def test_suspects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, is_here: bool) -> None:
    """changed, touched and missing files, and those without a sure signature; no others"""
    if is_here:
        monkeypatch.chdir(tmp_path)
    names = [f"f{at}" for at in range(count)]
    for name in names:
        (tmp_path / name).touch()
    things = _things(tmp_path, *names)
    things.number("never")
    things.set(0, b"", b"")  # known by name only
    assert things.suspects() == []
    (tmp_path / names[-1]).write_text("x")
    os.utime(tmp_path / names[-2])
    (tmp_path / names[-3]).unlink()
    things.set(1, digest(b""), b"")
    assert sorted(things.suspects()) == [1, count - 3, count - 2, count - 1]
    numbers = memoryview(bytes(8)).cast("I")
    left = Left(os.fspath(tmp_path), b"", numbers, [2])
    assert 2 in things.suspects(left)
    all_of_them = memoryview(b"".join(at.to_bytes(4, "little") for at in range(count + 1))).cast("I")
    assert things.suspects(Left(os.fspath(tmp_path), b"", all_of_them, [3])) == [3]


def test_the_same_content_is_no_change(tmp_path: Path) -> None:
    """a new signature is taken over, another content is not"""
    (tmp_path / "a").write_text("a")
    things = _things(tmp_path, "a")
    digests = FileDigests(tmp_path, clock=late_clock)
    os.utime(tmp_path / "a")
    assert things.suspects() == [0]
    assert things.refresh(0, digests)
    assert things.suspects() == []
    (tmp_path / "a").write_text("b!")
    assert not things.refresh(0, digests)
    assert things.identity(0) == digest(b"a")
    (tmp_path / "a").unlink()
    assert not things.refresh(0, digests)
    (tmp_path / "a").mkdir()
    assert not things.refresh(0, digests)


def test_a_signature_belongs_to_its_content(tmp_path: Path) -> None:
    """what is not, or no longer, what was seen gets none"""
    (tmp_path / "a").write_text("a")
    things = _things(tmp_path, "a")
    digests = FileDigests(tmp_path, clock=late_clock)
    sign = signature((tmp_path / "a").stat())
    for identity, hint, expected in (
        (digest(b"a"), b"", sign),
        (digest(b"b"), b"", b""),
        (digest(b"b"), sign, sign),  # the caller knows
    ):
        things.set(0, b"", b"")
        things.settle(0, identity, hint, digests=digests, now_ns=late_clock())
        assert (things.identity(0), things.hint(0)) == (identity, expected)
    things.set(0, b"", b"")
    things.settle(0, digest(b"a"), b"", digests=digests, now_ns=late_clock() - 60_000_000_000)
    assert things.hint(0) == b""
    (tmp_path / "a").unlink()
    things.settle(0, digest(b"a"), b"", digests=digests, now_ns=late_clock())
    assert (things.identity(0), things.hint(0)) == (digest(b"a"), b"")
