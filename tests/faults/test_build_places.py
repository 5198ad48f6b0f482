"""Builds where something cannot be written: a full disk, no permission, no descriptors. What can be made is made."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.faults.test_places import mounted
from tests.faults.workshop import NINJA, VCACHEFILE, Built, Shop, expected

NOBODY: Final = 65_534
AS_A_USER: Final = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Starts a command for which permissions hold: root may write everywhere."""

LATER: Final = pytest.param(VCACHEFILE, marks=pytest.mark.slow)
PARTS: Final = ("cache", "memory", "outputs")


@pytest.fixture
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Shop:
    return Shop.make(tmp_path / "tree", tmp_path / "cache", getattr(request, "param", NINJA))


def place(shop: Shop, part: str) -> Path:
    """Where a part of a build's work goes."""
    return {"cache": shop.cache, "memory": shop.state, "outputs": shop.root / "obj"}[part]


@contextmanager
def small(shop: Shop, part: str, left_bytes: int) -> Iterator[Path]:
    """A part on a file system with hardly any room; yields what takes the room."""
    at = place(shop, part)
    at.mkdir(exist_ok=True)
    with mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", at=at):
        filler = at / "filler"
        filler.write_bytes(bytes((1 << 20) - left_bytes))
        yield filler


@pytest.mark.parametrize("shop", [NINJA, LATER], indirect=True)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("left_bytes", [0, pytest.param(4096, marks=pytest.mark.slow)])
def test_a_full_disk_falsifies_nothing(shop: Shop, part: str, left_bytes: int, tmp_path: Path) -> None:
    """Without room for the cache or for what is remembered a build succeeds; without room for outputs it fails.

    It says so once, without a traceback, and with room again the next build makes all.
    """
    right = expected(tmp_path, shop.file, 0)
    with small(shop, part, left_bytes) as filler:
        first = shop.attempt("build").check_words()
        if part != "outputs":
            assert first.status == 0, first.text
            assert shop.made() == right
            assert said_once(first)
        else:
            assert first.status == 1, first.text
        second = shop.attempt("build").check_words()
        assert second.status == first.status, second.text
        filler.unlink()
        shop.turn(1)
        shop.build()
        assert shop.made() == expected(tmp_path, shop.file, 1)
        assert "nothing to do" in shop.build().text


def said_once(built: Built) -> bool:
    """Whether vcache says nothing of its own twice."""
    lines = [line for line in built.text.splitlines() if line.startswith(("vcache:", "note:", "warning:"))]
    return len(lines) == len(set(lines))


@contextmanager
def without_write(path: Path) -> Iterator[None]:
    """A read-only mount of a directory."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.parametrize("shop", [NINJA, LATER], indirect=True)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("is_filled", [False, True], ids=["empty", "filled"])
def test_a_read_only_place_falsifies_nothing(
    shop: Shop, part: str, tmp_path: Path, *, is_filled: bool
) -> None:
    """A read-only cache or memory costs a build its speed; read-only outputs fail, in words."""
    if is_filled:
        shop.build()
        shop.turn(2)
    number = 2 if is_filled else 0
    right = expected(tmp_path, shop.file, number)
    with without_write(place(shop, part)):
        first = shop.attempt("build").check_words()
        if part == "outputs":
            assert first.status == 1, first.text
        else:
            assert first.status == 0, first.text
            assert shop.made() == right
            assert said_once(first)
            assert shop.attempt("build").check_words().status == 0
            assert shop.made() == right
    shop.build()
    assert shop.made() == right


@pytest.mark.parametrize("part", PARTS)
def test_who_may_not_write_is_told_so(shop: Shop, part: str, tmp_path: Path) -> None:
    """Without permission for the cache or the memory a build succeeds; for the outputs it fails, in words."""
    at = place(shop, part)
    at.mkdir()
    os.chown(at, NOBODY, NOBODY)
    built = shop.run("build", prefix=AS_A_USER).check_words()
    assert built.status == (1 if part == "outputs" else 0), built.text
    assert said_once(built)
    if part != "outputs":
        assert shop.made() == expected(tmp_path, NINJA, 0)


def test_a_tree_that_may_not_be_written_at_all_is_told_so(shop: Shop) -> None:
    """A build in a read-only tree fails in words, and one with nothing to do says so."""
    with without_write(shop.root):
        ended = shop.attempt("build").check_words()
        assert ended.status != 0
        assert "Read-only" in ended.text
    shop.build()
    with without_write(shop.root):
        ended = shop.run("build").check_words()
        assert ended.status == 0, ended.text
        assert "nothing to do" in ended.text


@pytest.mark.parametrize(
    "most", [16, 24, *(pytest.param(n, marks=pytest.mark.slow) for n in (10, 13, 20, 32))]
)
def test_few_descriptors_fail_steps_or_nothing(shop: Shop, most: int, tmp_path: Path) -> None:
    """With few descriptors a build is right or fails in words; with more the next one makes all."""
    limited = shop.run("build", prefix=("prlimit", f"--nofile={most}")).check_words()
    if limited.status == 0:
        assert shop.made() == expected(tmp_path, NINJA, 0)
    shop.build()
    assert shop.made() == expected(tmp_path, NINJA, 0)
