"""Power loss: after a reboot a file has what was synced, and of later pages any; a directory any of its later names."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.log_yard import everything, make_records
from vcache.logs.disk import DiskLogs
from vcache.logs.ids import id_of, parse_id

PAGE: Final = 4096


class Machine:
    """Knows of a directory what would survive, by watching fsync; and what is there."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch, seed: int) -> None:
        self.directory = directory
        self.draw = random.Random(seed)
        self.owed: set[str] = set()  # ids whose append returned and was synced
        self._contents: dict[int, bytes] = {}  # by inode, as of its last sync
        self._latest: dict[int, bytes] = {}  # … and as it was seen last
        self._names: dict[int, dict[str, int]] = {}  # of directories, by inode, as of their last sync
        self.on_sync: Callable[[], None] = lambda: None
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(fd: int) -> None:
            self.on_sync()
            sync(fd)
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                self._names[status.st_ino] = {entry.name: entry.inode() for entry in os.scandir(fd)}
            else:
                with open(f"/proc/self/fd/{fd}", "rb") as file:
                    self._contents[status.st_ino] = file.read()
            self.on_sync()

        return synced

    def lose_power(self, target: Path) -> None:
        """What may be found after a power loss at this moment."""
        self._restore(self.directory, target)

    def _restore(self, place: Path, target: Path) -> None:
        target.mkdir(parents=True)
        entries = {entry.name: entry for entry in os.scandir(place)}
        durable = self._names.get(place.stat().st_ino, {})
        for name in sorted({*entries, *durable}):
            entry = entries.get(name)
            if entry is not None and entry.is_dir():
                self._restore(Path(entry.path), target / name)
                continue
            if entry is not None:
                self._latest[entry.inode()] = Path(entry.path).read_bytes()
            # A name that changed since the directory was synced is the old one or the new one.
            inode = durable.get(name) if entry is None or self.draw.random() < 0.5 else entry.inode()
            if entry is not None and durable.get(name) == entry.inode():
                inode = entry.inode()
            if entry is None and self.draw.random() < 0.5:
                continue
            if inode is not None:
                (target / name).write_bytes(self._pages(inode))

    def _pages(self, inode: int) -> bytes:
        """What was synced, and of what came later some pages, some zeros, up to some length."""
        durable, latest = self._contents.get(inode, b""), self._latest.get(inode, b"")
        if latest[: len(durable)] != durable:
            return self.draw.choice((durable, latest))  # it was cut back
        length = self.draw.choice((len(durable), len(latest), self.draw.randint(len(durable), len(latest))))
        found = bytearray(latest[:length])
        for at in range(len(durable), length):
            if at % PAGE == 0 or at == len(durable):
                end = min(length, at - at % PAGE + PAGE)
                if self.draw.random() < 0.4:
                    found[at:end] = bytes(end - at)
        return bytes(found)


def live(machine: Machine, acts: int) -> Iterator[None]:
    """Append, seal, merge, open anew; a moment after each."""
    draw, number = machine.draw, 0
    logs = DiskLogs(machine.directory, seals=False)
    for _ in range(acts):
        act = draw.random()
        if act < 0.75:
            count, is_synced = draw.choice((1, 3, 40)), draw.random() < 0.6
            appended = logs.append(make_records("make", number, count, chars=200), sync=is_synced)
            number += count
            if is_synced:
                stream, seq = parse_id(appended.first_id)
                machine.owed |= {id_of(stream, seq + more) for more in range(count)}
        elif act < 0.95:
            logs.seal()
        else:
            logs.close()
            logs = DiskLogs(machine.directory, seals=False)
        yield
    logs.close()


def campaign(tmp_path: Path, acts: int, seed: int, share: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(tmp_path / "logs", patch, seed)
        losses: list[tuple[Path, frozenset[str]]] = []

        def perhaps() -> None:
            if machine.directory.is_dir() and machine.draw.random() < share:
                target = tmp_path / f"after {len(losses)}"
                machine.lose_power(target)
                losses.append((target, frozenset(machine.owed)))

        machine.on_sync = perhaps
        for _ in live(machine, acts):
            perhaps()
    assert len(losses) > acts // 4
    for target, owed in losses:
        with DiskLogs(target, seals=False) as logs:
            found = everything(logs)
            assert owed <= found.keys(), f"{len(owed - found.keys())} records that were synced are lost"
            logs.append(make_records("after", 0, 3))
            logs.seal()
            after = everything(logs)
            assert found.keys() <= after.keys()
            assert len(after) == len(found) + 3
    assert any(owed for _, owed in losses)


def test_after_a_power_loss_synced_records_are_there(tmp_path: Path) -> None:
    """Whatever the pages and names were that had not reached the disk, no synced record is lost or wrong."""
    campaign(tmp_path, acts=60, seed=1, share=0.12)


@pytest.mark.slow
def test_after_many_power_losses_synced_records_are_there(tmp_path: Path) -> None:
    """The same, over many histories."""
    for seed in range(2, 30):
        campaign(tmp_path / str(seed), acts=150, seed=seed, share=0.15)
