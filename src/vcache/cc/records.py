"""Writes what `lean` reads: records, which it answers from, and counts; and sweeps both.

It knows the layout of records by way of `lean`, and nothing of compilers.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from vcache.cc import lean
from vcache.hash import digest

if TYPE_CHECKING:
    from vcache.config import Settings

__all__ = ["BUDGET_BYTES", "Counts", "budget_of", "leave", "sweep"]

BUDGET_BYTES: Final = 1 << 30
"""What records may take, at most; and no more than a quarter of the disk tier's own budget."""

_LONGEST_BYTES: Final = 16 << 20
_DIGESTED_BYTES: Final = 16 << 20
_SWEPT_EVERY: Final = 64
_TEMP_AGE_S: Final = 3600
_FOLDED_BYTES: Final = 1 << 20


def leave(
    *,
    asked: bytes,
    files: Iterable[str],
    tools: Iterable[str],
    absent: Iterable[str],
    outs: Mapping[str, str],
    root: str,
    artifacts: Iterable[list[object]],
    said: list[tuple[int, bytes]],
    began_ns: int,
    settings: Settings,
) -> None:
    """Write the record of a request, unless something stands against it.

    Args:
        files: what was read, besides tools; a change of signature alone is looked at closely.
        tools: programs that ran; too large to be looked at closely.
        outs: by name below the root, the names on the command line.
        artifacts: what the cache keeps of each output.
        began_ns: what changed since is not known to be what was read.

    Raises:
        ValueError: something stands against it, in words.
        OSError: the directory cannot be written.
    """
    home = lean.home()
    if not home or settings.is_read_only:
        raise ValueError("there is no place for it")
    made = [_output(root, artifact, outs) for artifact in artifacts]
    now_ns = time.time_ns()
    present, missing = _settings_files(os.getcwd())
    marker = os.path.join(settings.dir, "format")
    looked_at = [_looked_at(path, began_ns, now_ns, is_close=True) for path in (*files, *present)]
    looked_at += [_looked_at(path, began_ns, now_ns, is_close=False) for path in tools]
    if os.path.exists(marker):  # who removes the cache removes its short cuts, wherever they are
        looked_at.append((marker, lean.signature(os.stat(marker)), ""))
    data = lean.encode(asked, looked_at, [*absent, *missing], made, said)
    if len(data) > _LONGEST_BYTES:
        raise ValueError(f"it would take {len(data)} bytes")
    path = lean.record_path(home, asked)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    lean.write_file(path, data, mode=0o600)
    if os.urandom(1)[0] < 256 // _SWEPT_EVERY:
        sweep(home, budget_bytes=budget_of(settings.max_bytes), now_ns=now_ns)


def _output(root: str, artifact: list[object], outs: Mapping[str, str]) -> tuple[str, bytes]:
    """An output's name on the command line, and its content, which is what the cache has."""
    name, mode, kept = artifact
    if not isinstance(name, str) or mode != 0o666 & ~_umask():
        raise ValueError(f"{name} has a mode of its own")
    with open(os.path.join(root, name), "rb") as file:
        data = file.read()
    if digest(data) != kept:
        raise ValueError(f"{name} is not what was made")
    return outs[name], data


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _looked_at(path: str, began_ns: int, now_ns: int, *, is_close: bool) -> tuple[str, str, str]:
    status = os.stat(path)
    if status.st_ctime_ns >= began_ns:
        raise ValueError(f"{path} changed meanwhile")
    known = lean.trusted_signature(status, now_ns)
    is_close = is_close and status.st_size <= _DIGESTED_BYTES
    return path, known, lean.content_digest(path) if is_close else ""


def _settings_files(cwd: str) -> tuple[list[str], list[str]]:
    """The settings files that hold here, and those that would if they were there."""
    from vcache.config import (
        PROJECT_FILES,  # loaded by who has settings, and not for a command that runs as it is
    )

    home = os.environ.get("HOME", "")
    named = os.environ.get("VCACHE_CONFIG", "")
    if named:
        return [os.path.join(cwd, os.path.expanduser(named))], []
    user = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    places = [f"{user}/vcache/config.toml", f"{home}/Library/Application Support/vcache/config.toml"]
    while True:
        places += (os.path.join(cwd, name) for name in (*PROJECT_FILES, "pyproject.toml"))
        if cwd == "/":
            break
        cwd = os.path.dirname(cwd)
    present = [path for path in places if os.path.isfile(path)]
    return present, [path for path in places if path not in present]


# --- sweeping --------------------------------------------------------------------------------


def budget_of(max_bytes: int | None) -> int:
    """What records may take beside a disk tier of a budget."""
    return BUDGET_BYTES if max_bytes is None else min(BUDGET_BYTES, max_bytes // 4)


def sweep(home: str, *, budget_bytes: int, now_ns: int) -> int:
    """Remove the records that were unused for longest, down to nine tenths of a budget; how many bytes.

    Also what crashed writers left. Safe at any time, by any number of processes.
    """
    found: list[tuple[int, int, str]] = []
    removed_bytes = 0
    for path, status in _files_in(home):
        if path.endswith(".vcc"):
            if now_ns - status.st_mtime_ns > _TEMP_AGE_S * 1_000_000_000:
                removed_bytes += _remove(path, status.st_size)
        else:
            found.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in found)
    if total > budget_bytes:
        for _, size, path in sorted(found):
            if total <= budget_bytes * 9 // 10:
                break
            total -= size
            removed_bytes += _remove(path, size)
    return removed_bytes


def _files_in(home: str) -> Iterable[tuple[str, os.stat_result]]:
    for number in range(256):
        try:
            with os.scandir(f"{home}/{number:02x}") as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        yield entry.path, entry.stat(follow_symlinks=False)
        except OSError:
            continue


def _remove(path: str, size_bytes: int) -> int:
    try:
        os.unlink(path)
    except OSError:
        return 0
    return size_bytes


# --- counts ----------------------------------------------------------------------------------


class Counts:
    """What became of commands: a file of lines, to which anybody adds, and a sum of earlier ones.

    A line may be lost when two processes fold at once; none is counted twice.

    Args:
        home: the directory of the records; "" for none.
    """

    def __init__(self, home: str) -> None:
        self._home = home
        self._lines = f"{home}/counts"
        self._sums = f"{home}/counts.sum"

    def add(self, event: str) -> None:
        """Count one event."""
        if not self._home:
            return
        line = f"{event}\n".encode("utf-8", "replace")
        if not os.path.isdir(self._home):
            with suppress(OSError):
                os.makedirs(self._home, mode=0o700, exist_ok=True)
        lean.append(self._lines, line)
        with suppress(OSError):
            if os.stat(self._lines).st_size > _FOLDED_BYTES:
                self._fold()

    def totals(self) -> Counter[str]:
        """How often each event was counted."""
        totals: Counter[str] = Counter()
        for line in _lines_of(self._sums):
            number, _, event = line.partition(" ")
            if number.isdecimal():
                totals[event] += int(number)
        totals.update(_lines_of(self._lines))
        return totals

    def reset(self) -> None:
        """Forget all."""
        for path in (self._lines, self._sums):
            with suppress(FileNotFoundError):
                os.unlink(path)

    def report(self) -> str:
        """All of it in words."""
        totals = self.totals()
        hits = totals["hit"] + totals["full"]
        asked = hits + totals["miss"]
        rate = f" ({hits / asked:.1%})" if asked else ""
        rows = [
            ("hits", f"{hits}{rate}"),
            ("  by their records", str(totals["hit"])),
            ("misses", str(totals["miss"])),
            ("failed compiles", str(totals["failed"])),
            ("run as they are", str(sum(n for event, n in totals.items() if event.startswith("raw ")))),
        ]
        rows += _reasons(totals, "raw ")
        rows.append(("not kept", str(sum(n for event, n in totals.items() if event.startswith("unkept ")))))
        rows += _reasons(totals, "unkept ")
        width = max(len(title) for title, _ in rows)
        return "".join(f"{title:{width}}  {number}\n" for title, number in rows)

    def _fold(self) -> None:
        """Turn lines into sums."""
        own = f"{self._lines}.{os.getpid()}.vcc"
        os.rename(self._lines, own)
        totals = Counter(_lines_of(own))
        for line in _lines_of(self._sums):
            number, _, event = line.partition(" ")
            if number.isdecimal():
                totals[event] += int(number)
        text = "".join(f"{number} {event}\n" for event, number in sorted(totals.items()))
        lean.write_file(self._sums, text.encode(), mode=0o600)
        os.unlink(own)


def _reasons(totals: Counter[str], start: str) -> list[tuple[str, str]]:
    found = [
        (number, event.removeprefix(start)) for event, number in totals.items() if event.startswith(start)
    ]
    return [
        (f"  {event}", str(number)) for number, event in sorted(found, key=lambda each: (-each[0], each[1]))
    ]


def _lines_of(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
