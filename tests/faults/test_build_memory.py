"""What a tree and a cache remember of builds, damaged, forged or taken away: never believed, never a traceback."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.faults.workshop import NINJA, VCACHEFILE, Shop, at_event, expected, held
from vcache import Cache
from vcache.entry import Key
from vcache.outcome import Hit

DIALECTS: Final = (NINJA, pytest.param(VCACHEFILE, marks=pytest.mark.slow))
Damage = Callable[[bytes, int], bytes]


@pytest.fixture
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Shop:
    return Shop.make(tmp_path / "tree", tmp_path / "cache", getattr(request, "param", NINJA))


def settled(shop: Shop) -> None:
    """Let every file be old enough to be known by its signature."""
    time.sleep(2.1)
    shop.build()
    shop.build()


# -- .vcache ------------------------------------------------------------------------------------


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def cut(data: bytes, at: int) -> bytes:
    return data[:at]


def zero(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :]


def shift(data: bytes, at: int) -> bytes:
    return data[:at] + b"\0" + data[at:]


DAMAGES: Final[tuple[Damage, ...]] = (flip, cut, zero, shift)


def remembered(shop: Shop) -> Iterator[Path]:
    for path in sorted(shop.state.rglob("*")):
        if path.is_file() and path.name not in ("lock", "CACHEDIR.TAG"):
            yield path


def damaging(shop: Shop, tmp_path: Path, damages: int) -> None:
    """Damage every file so many times, with and without a change of the sources."""
    right = [expected(tmp_path, shop.file, number) for number in range(2)]
    shop.build()
    shop.turn(1)
    shop.build()
    shop.turn(0)
    settled(shop)
    kept = tmp_path / "kept"
    shutil.copytree(shop.state, kept)
    draw = random.Random(3)
    for number, path in enumerate(list(remembered(shop)) * damages):
        data = path.read_bytes()
        damage = DAMAGES[number % len(DAMAGES)] if number % 9 else cut
        path.write_bytes(damage(data, draw.randrange(len(data)) if number % 9 else 0))
        turn = draw.randrange(2)
        shop.turn(turn)
        built = shop.run()
        where = f"{path.name}, {damage.__name__}, {turn}: {built.text}"
        assert built.check().status == 0, where
        assert shop.made() == right[turn], where
        if turn:
            assert "nothing to do" not in built.text, where
        shop.turn(0)
        shutil.rmtree(shop.state)
        shutil.copytree(kept, shop.state)
        shop.build()
        assert shop.made() == right[0], where


@pytest.mark.parametrize("shop", DIALECTS, indirect=True)
def test_a_damaged_memory_is_as_if_absent(shop: Shop, tmp_path: Path) -> None:
    """Flipped, cut and moved bytes in what a tree remembers: right outputs, no "nothing to do", no traceback."""
    damaging(shop, tmp_path, 1)


@pytest.mark.slow
@pytest.mark.parametrize("shop", DIALECTS, indirect=True)
def test_a_memory_damaged_anywhere_is_as_if_absent(shop: Shop, tmp_path: Path) -> None:
    """The same at many more places."""
    damaging(shop, tmp_path, 60)


SHOWING: Final = (("history",), ("log", "app"), ("diff",), ("why", "app"), ("graph", "app"))


def test_who_reads_a_damaged_memory_says_so_in_words(shop: Shop) -> None:
    """What shows earlier runs leaves out what is damaged, without a traceback."""
    shop.build()
    shop.turn(1)
    shop.build()
    draw = random.Random(5)
    for number, path in enumerate(list(remembered(shop)) * 2):
        data = path.read_bytes()
        path.write_bytes(DAMAGES[number % 4](data, draw.randrange(len(data))))
        shop.attempt(*SHOWING[number % len(SHOWING)]).check_words()
    durations = shop.state / "runs/durations"
    durations.write_text("vcache durations 1\n" + "9" * 5000 + "\tapp\n-1\tx\n\0\n")
    for path in (shop.state / "runs").glob("*.jsonl"):
        path.write_bytes(
            path.read_bytes() + b"[" * 200_000 + b'\n{"event":"finished","at_ns":1e999,"node":7}\n'
        )
    for words in SHOWING:
        shop.attempt(*words).check_words()
    shop.turn(2)
    shop.build()


def test_a_memory_of_another_tree_is_not_believed(shop: Shop, tmp_path: Path) -> None:
    """A copied or moved tree, `.vcache` and all, makes its own outputs from its own sources."""
    settled(shop)
    other = Shop(tmp_path / "copy", shop.cache, shop.file)
    shutil.copytree(shop.root, other.root)
    other.turn(1)
    other.build()
    assert other.made() == expected(tmp_path, NINJA, 1)
    shutil.rmtree(shop.root)
    os.rename(other.root, shop.root)
    shop.build()
    assert shop.made() == expected(tmp_path, NINJA, 1)


@pytest.mark.parametrize("shop", DIALECTS, indirect=True)
def test_a_memory_may_go_while_a_build_runs(shop: Shop, tmp_path: Path) -> None:
    """`rm -rf .vcache` at some moments of a build, or files of it turned into directories: it makes all."""
    for number in range(1, 60, 24):
        shop.turn(number % 3)
        gone = lambda: shutil.rmtree(shop.state, ignore_errors=True)  # noqa: E731
        shop.attempt("build", before=at_event(number, gone, below=(shop.root,))).check()
        assert shop.made() == expected(tmp_path / str(number), shop.file, number % 3)
    for name in ("tree", "graph", "runs", "lock"):
        shutil.rmtree(shop.state, ignore_errors=True)
        (shop.state / name).mkdir(parents=True)
        (shop.state / name / "x").touch()
        shop.turn(1)
        shop.build()
        shop.turn(2)
        shop.build()
        assert shop.says() == "2 2 4\n"


# -- the cache ----------------------------------------------------------------------------------


def blobs(shop: Shop) -> list[Path]:
    return [path for path in shop.cache.rglob("*") if path.is_file()]


def test_a_cache_that_is_collected_meanwhile_costs_runs_only(shop: Shop, tmp_path: Path) -> None:
    """`vcache gc` down to nothing at many moments of a restore, by another process: the outputs are right."""
    right = [expected(tmp_path, NINJA, number) for number in range(3)]

    def collect() -> None:
        shop.finish(shop.start("gc", "--max-bytes", "0"))

    for turn, number in enumerate((20, 50)):
        shop.turn(turn % 3)
        shop.build()
        shop.clean()
        built = shop.attempt("build", before=at_event(number, collect, below=(shop.root, shop.cache)))
        built.check()
        assert shop.made() == right[turn % 3]


def test_collecting_all_the_time_costs_runs_only(shop: Shop, tmp_path: Path) -> None:
    """Builds while another process collects over and over."""
    right = [expected(tmp_path, NINJA, number) for number in range(3)]
    shop.build()
    collector = shop.start("gc", "--max-bytes", "0")
    for turn in range(4):
        with held(collector):
            shop.turn(turn % 3)
            shop.clean()
            shop.build()
            assert shop.made() == right[turn % 3]
        collector = shop.start("gc", "--max-bytes", "0")
    shop.finish(collector).check()


@pytest.mark.parametrize(
    "numbers", [(17,), pytest.param(range(1, 90, 4), marks=pytest.mark.slow)], ids=["one", "many"]
)
def test_a_cache_that_goes_meanwhile_costs_runs_only(
    shop: Shop, tmp_path: Path, numbers: Sequence[int]
) -> None:
    """The cache's directory, or each file in it, removed, emptied or garbled in the middle of a build."""
    right = [expected(tmp_path, NINJA, number) for number in range(3)]

    def remove() -> None:
        shutil.rmtree(shop.cache, ignore_errors=True)

    def empty() -> None:
        for path in blobs(shop):
            path.unlink(missing_ok=True)

    def garble() -> None:
        for path in blobs(shop):
            data = path.read_bytes()
            if path.suffix != ".lock" and data:
                with open(path, "r+b") as file:  # in place, as a disk does
                    file.write(bytes(byte ^ 0x40 for byte in data))

    for turn, act in enumerate((remove, empty, garble)):
        for number in numbers:
            shop.turn(turn)
            shutil.rmtree(shop.cache, ignore_errors=True)
            shop.build()
            shop.clean()
            shop.attempt("build", before=at_event(number, act, below=(shop.root, shop.cache))).check()
            assert shop.made() == right[turn], act.__name__
            shop.clean()
            shop.build()
            assert shop.made() == right[turn], act.__name__


def results(cache: Cache) -> list[tuple[Key, dict[str, object]]]:
    """The stored results of steps."""
    found = []
    for key in cache.store.scan():
        hit = cache.peek_key(key)
        if isinstance(hit, Hit) and isinstance(hit.value, dict) and "files" in hit.value:
            found.append((key, hit.value))
    return found


FORGED: Final[tuple[Callable[[list[object]], object], ...]] = (
    lambda file: [["../evil", file[1], file[2]]],
    lambda file: [["/tmp/vcache-evil", file[1], file[2]]],
    lambda file: [["src/a.c", file[1], file[2]]],
    lambda file: [["build.ninja", file[1], file[2]]],
    lambda file: [file, ["src/a.c", file[1], file[2]]],
    lambda file: [["gen", 0o120000, b"/tmp"], ["gen/vcache-evil", file[1], file[2]]],
    lambda file: [["src/../../evil", file[1], file[2]]],
    lambda file: [[file[0], 0o104777, file[2]]],
    lambda file: [[file[0], file[1], b"short"]],
    lambda file: [[file[0], "mode", 7]],
    lambda file: [],
    lambda file: "files",
    lambda file: {1: 2},
    lambda file: [[[]]],
)


@pytest.mark.parametrize(
    "forgeries", [FORGED[:5], pytest.param(FORGED[5:], marks=pytest.mark.slow)], ids=["names", "all"]
)
def test_a_forged_result_writes_no_other_file(
    shop: Shop, tmp_path: Path, forgeries: Sequence[Callable[[list[object]], object]]
) -> None:
    """A result in the cache that names other files, links or modes changes nothing but declared outputs."""
    right = expected(tmp_path, NINJA, 0)
    sources = {path: path.read_bytes() for path in (shop.root / "src").iterdir()}
    for forge in forgeries:
        shutil.rmtree(shop.cache, ignore_errors=True)
        shop.build("--force")
        with Cache(shop.cache, root=shop.root) as cache:
            for key, value in results(cache):
                files = value["files"]
                assert isinstance(files, list)
                cache.put_key(key, {**value, "files": forge(list(files[0]))})
        shop.clean()
        shop.attempt("build").check()
        made = shop.made()
        assert made.keys() == right.keys()
        assert {path: path.read_bytes() for path in (shop.root / "src").iterdir()} == sources
        assert not (tmp_path / "evil").exists()
        assert not Path("/tmp/vcache-evil").exists()
        assert not any(path.is_symlink() for path in shop.root.rglob("*") if ".vcache" not in path.parts)
        # A mode is a part of a result, as its bytes are; one that gives rights of others is not.
        assert not any((shop.root / name).stat().st_mode & 0o7000 for name in made)
        assert {name: data for name, (_, data) in made.items()} == {
            name: data for name, (_, data) in right.items()
        }
