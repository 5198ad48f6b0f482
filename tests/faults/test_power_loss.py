"""Power loss: after a reboot, files are mixed from pages of different moments."""

from __future__ import annotations

import os
import random
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

from tests.faults.crew import deadline
from tests.faults.test_kills import copy_sparse
from vcache import Cache
from vcache.store.disk import DiskStore
from vcache.store.disk.index import Word

PAGE: Final = 4096
NAMES: Final = [f"name {number}" for number in range(260)]
SIZES: Final = (20, 700, 3_000, 9_000, 60_000, 300_000)
WEIGHTS: Final = (8, 8, 3, 3, 1, 1)


class History:
    """A store at work, every value that was ever put for a name, and copies of the directory."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.ever: dict[str, set[bytes | None]] = defaultdict(lambda: {None})
        self.snapshots: list[Path] = []
        self._draw = random.Random(seed)

    def live(self, moments: int) -> None:
        """Work, and copy everything at so many moments."""
        store = DiskStore(self.directory)
        store.segments._segment_bytes = 256 << 10
        with Cache(store) as cache:
            for moment in range(moments):
                for _ in range(150):
                    self._act(cache, store)
                copy = self.directory.with_name(f"moment {moment}")
                shutil.copytree(self.directory, copy, copy_function=copy_sparse)
                self.snapshots.append(copy)

    def _act(self, cache: Cache, store: DiskStore) -> None:
        draw = self._draw
        name, act = draw.choice(NAMES), draw.random()
        if act < 0.1:
            cache.delete(name)
        elif act < 0.11:
            store.reclaim()
        else:
            value = name.encode() + draw.randbytes(draw.choices(SIZES, WEIGHTS)[0])
            self.ever[name].add(value)
            cache.put(name, value)

    def mix(self, target: Path) -> None:
        """A directory as a power loss may leave it: each page from one of two or three moments."""
        draw = self._draw
        newest = draw.randrange(1, len(self.snapshots))
        moments = [self.snapshots[newest], *draw.sample(self.snapshots[:newest], min(2, newest))]
        share = draw.choice((0.02, 0.3, 0.9))
        for moment in moments:
            for file in moment.rglob("*"):
                place = target / file.relative_to(moment)
                if file.is_dir():
                    place.mkdir(parents=True, exist_ok=True)
                elif not place.exists() and (moment is moments[0] or draw.random() < 0.5):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    copy_sparse(str(file), str(place))
        for file in [path for path in target.rglob("*") if path.is_file()]:
            versions = [moment / file.relative_to(target) for moment in moments[1:]]
            self._lose(file, [path for path in versions if path.exists()], share)
        with open(target / "index", "r+b") as index:
            index.seek(Word.BOOT * 8)
            index.write(draw.randbytes(8))

    def _lose(self, file: Path, older: list[Path], share: float) -> None:
        """Set pages of a file back to what they were, or to zeros where they were not."""
        draw = self._draw
        file.chmod(0o644)
        with open(file, "r+b", buffering=0) as now:
            at = 0
            while True:
                try:
                    start = os.lseek(now.fileno(), at, os.SEEK_DATA)
                except OSError:
                    return
                at = start - start % PAGE + PAGE
                if draw.random() < share and file.name != "format":
                    page = bytes(PAGE)
                    if older:
                        with open(draw.choice(older), "rb", buffering=0) as then:
                            page = os.pread(then.fileno(), PAGE, start - start % PAGE) or page
                    length = min(len(page), os.fstat(now.fileno()).st_size - (start - start % PAGE))
                    os.pwrite(now.fileno(), page[:length], start - start % PAGE)


def examine(directory: Path, ever: dict[str, set[bytes | None]], draw: random.Random) -> int:
    """What a cache is worth after the cut: nothing wrong, and as good as new afterwards; how many hits."""
    with Cache(DiskStore(directory)) as cache:
        found = {name: cache.get(name) for name in NAMES}
        for name, value in found.items():
            assert value in ever[name], f"{name}: a value that was never put: {value!r:.60}"
        now: dict[str, bytes | None] = {}
        for name in draw.sample(NAMES, 120):
            if draw.random() < 0.4:
                cache.delete(name)
                now[name] = None
            else:
                now[name] = name.encode() + draw.randbytes(draw.choice(SIZES[:4]))
                cache.put(name, now[name])
            assert cache.get(name) == now[name]
        cache.gc()
        for name, value in now.items():
            assert cache.get(name) == value, name
        cache.verify(repair=True)
        assert cache.verify().faults == ()
        for name, value in now.items():
            assert cache.get(name) == value, name
        left = {str(name): cache.get(name) for name in cache}
        assert len(left) == cache.stats().entries
    with Cache(DiskStore(directory)) as cache:
        assert {str(name): cache.get(name) for name in cache} == left
    return sum(value is not None for value in found.values())


def campaign(tmp_path: Path, rounds: int, seed: int) -> None:
    history = History(tmp_path / "cache", seed)
    history.live(moments=6)
    draw = random.Random(seed)
    hits = 0
    for _ in range(rounds):
        history.mix(tmp_path / "mixed")
        with deadline(20):
            hits += examine(tmp_path / "mixed", history.ever, draw)
        shutil.rmtree(tmp_path / "mixed")
    assert hits > rounds  # not everything is lost each time, or nothing was tested


def test_after_a_power_loss_nothing_wrong_is_served(tmp_path: Path) -> None:
    """From pages of several moments the cache opens, serves only what was once put, and works on."""
    campaign(tmp_path, rounds=24, seed=1)


@pytest.mark.slow
def test_after_many_power_losses_nothing_wrong_is_served(tmp_path: Path) -> None:
    """The same, over many histories."""
    for seed in range(2, 12):
        (tmp_path / str(seed)).mkdir()
        campaign(tmp_path / str(seed), rounds=60, seed=seed)


@pytest.mark.parametrize("content", [b"", bytes(14)])
def test_a_format_file_that_lost_its_content_is_completed(tmp_path: Path, content: bytes) -> None:
    """A store whose `format` file came out empty or zeroed opens, with its entries."""
    with Cache(tmp_path / "cache") as cache:
        cache.put("kept", "value")
    (tmp_path / "cache" / "format").write_bytes(content)
    with Cache(tmp_path / "cache") as cache:
        assert cache.get("kept") == "value"
    assert (tmp_path / "cache" / "format").read_text() == "vcache-disk 1\n"
