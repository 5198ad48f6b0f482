"""Writing to a disk tier alone: new keys with new values of 1 KB, 100 KB, 10 MB, and old keys again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import Scale, take_turns
from benchmarks.peers import Values, disk_cache, write_file
from benchmarks.result import Compare, Row
from vcache import Cache

TITLE = "disk tier: writes"

Item = tuple[str, bytes]


def run(scale: Scale, directory: Path) -> list[Row]:
    """Puts against diskcache and a plain write."""
    new_note = "new keys, new incompressible values; neither side syncs on the path"
    return [
        _against_diskcache(scale, directory, "1 KB", 1000, calls=1500, bound=6.0, note=new_note),
        _over_old_keys(scale, directory),
        _against_diskcache(scale, directory, "100 KB", 100_000, calls=80, bound=4.0, note=new_note),
        _against_file(scale, directory),
    ]


def _against_diskcache(
    scale: Scale, directory: Path, size: str, size_bytes: int, *, calls: int, bound: float, note: str
) -> Row:
    values = Values(size_bytes)

    def fresh(_: int) -> Sequence[Item]:
        return values.take(scale.pick(calls, 5))

    figures = _compare(scale, directory / f"put-{size}", fresh)
    return _row(f"disk put, {size}", figures, bound=bound, note=note)


def _over_old_keys(scale: Scale, directory: Path) -> Row:
    values = Values(1000)
    keys = [key for key, _ in Values(8).take(scale.pick(1500, 5))]

    def again(_: int) -> Sequence[Item]:
        return [(key, value) for key, (_, value) in zip(keys, values.take(len(keys)), strict=True)]

    return _row("disk put, 1 KB, over an old value", _compare(scale, directory / "over", again))


def _compare(scale: Scale, directory: Path, items: Callable[[int], Sequence[Item]]) -> dict[str, object]:
    directory.mkdir()
    with Cache(f"disk:{directory / 'ours'}") as ours, disk_cache(directory / "peer") as peer:
        sides: dict[str, Callable[[Item], object]] = {
            "vcache": lambda item: ours.put(*item),
            "diskcache": lambda item: peer.set(*item),
        }
        figures = take_turns(sides, items, rounds=scale.rounds, once=True)
        key, value = items(0)[0]
        assert ours.put(key, value)
        assert ours.get(key) == value
    shutil.rmtree(directory)
    return dict(figures)


def _row(what: str, figures: dict[str, object], *, bound: float | None = None, note: str = "") -> Row:
    ours, peer = figures["vcache"], figures["diskcache"]
    return Row(what, Compare.FASTER, "µs", ours, peer, bound=bound, note=note)  # type: ignore[arg-type]


def _against_file(scale: Scale, directory: Path) -> Row:
    values = Values(scale.pick(10_000_000, 1_000_000))
    plain = directory / "plain-10 MB"
    plain.mkdir()
    with Cache(f"disk:{directory / 'put-10 MB'}") as ours:
        written: list[str] = []

        def fresh(_: int) -> Sequence[Item]:
            items = values.take(scale.pick(4, 1))
            written.extend(key for key, _ in items)
            return items

        def remove(_: int) -> None:
            # Blobs that no entry refers to are files like the peer's: both are removed.
            for key in written:
                ours.delete(key)
                (plain / key).unlink()
            written.clear()
            for blob in (directory / "put-10 MB" / "blobs").glob("*/*"):
                blob.unlink()

        sides: dict[str, Callable[[Item], object]] = {
            "vcache": lambda item: ours.put(*item),
            "plain write": lambda item: write_file(plain / item[0], item[1]),
        }
        figures = take_turns(sides, fresh, rounds=scale.rounds, once=True, after=remove)
    return Row(
        "disk put, 10 MB",
        Compare.WITHIN,
        "µs",
        figures["vcache"],
        figures["plain write"],
        bound=2.0,
        note="the plain write is open(path, 'wb').write(data) to a new file, one call, no digest, no fsync",
    )
