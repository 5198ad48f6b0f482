"""How long nodes took when they last ran, over runs: `<base>/.vcache/runs/durations`.

Lines of nanoseconds, a tab and a name; a later line of a name counts. Appended to, and
written anew when it has doubled: 10,000 nodes are read in a few milliseconds. It must not know what
the times are for (scheduling, estimates).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from vcache.dag.frozen import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["add", "load"]

_HEADER: Final = "vcache durations 1\n"
_COMPACT_BYTES: Final = 1 << 20
_DIGITS_MOST: Final = 19  # 300 years; beyond 4,300 digits `int` raises


def load(base: str) -> dict[str, int]:
    """By name of a node, how many nanoseconds its last successful run took.

    What cannot be read is left out: these are estimates.
    """
    try:
        with open(_path(base), encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            if file.readline() != _HEADER:
                return {}
            text = file.read()
    except OSError:
        return {}
    found: dict[str, int] = {}
    for line in text.split("\n"):
        took, tab, name = line.partition("\t")
        if tab and took.isdecimal() and len(took) <= _DIGITS_MOST:
            found[name] = int(took)
    return found


def add(base: str, took_ns: Mapping[str, int]) -> None:
    """Remember how long nodes took.

    Raises:
        OSError: it cannot be written.
    """
    # A name with a line break is nobody's: it would have to be escaped for every reader.
    text = "".join(f"{ns}\t{name}\n" for name, ns in took_ns.items() if "\n" not in name)
    if not text:
        return
    path = _path(base)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        before_bytes = os.fstat(descriptor).st_size
        if os.pread(descriptor, len(_HEADER), 0) != _HEADER.encode():
            os.truncate(descriptor, 0)  # a new file, or of another version: it is only a memory
            before_bytes = 0
            text = _HEADER + text
        elif os.pread(descriptor, 1, before_bytes - 1) != b"\n":
            text = "\n" + text  # what a killed run left must not swallow the first line
        data = text.encode("utf-8", "surrogateescape")
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    after_bytes = before_bytes + len(data)
    # Where the size passes a power of two: what is written anew is paid for by what was appended.
    if after_bytes >= _COMPACT_BYTES and after_bytes.bit_length() > before_bytes.bit_length():
        _compact(base, path)


def _compact(base: str, path: str) -> None:
    from vcache.kit.fs_atomic import write_atomic

    lines = (f"{ns}\t{name}\n" for name, ns in load(base).items())
    write_atomic(path, (_HEADER + "".join(lines)).encode("utf-8", "surrogateescape"))


def _path(base: str) -> str:
    return os.path.join(base, DIRECTORY, "runs", "durations")
