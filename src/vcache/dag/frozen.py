"""Whether there is nothing to do, found out by one stat per file before anything else is loaded.

It imports only what the interpreter brings: each module more costs what a thousand stats cost. It
must not know nodes, keys and caches; `cleanness` writes what is read here. The bytes are normative in
docs/design/build.md. On any doubt the answer is "I do not know", and the full way is taken.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from _operator import attrgetter

TYPE_CHECKING = False  # importing typing costs as much as 4,000 stats
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from typing_extensions import Buffer

    Seal: TypeAlias = Callable[[Buffer], bytes]

__all__ = [
    "DIRECTORY",
    "GENERAL",
    "NINJA",
    "SAID",
    "SEAL_BYTES",
    "VCACHE",
    "Ask",
    "Left",
    "clean_name",
    "differing",
    "freeze",
    "fresh_row",
    "leave",
    "load",
    "pack",
    "parse",
    "seal",
    "sealed_environ",
    "take",
    "try_clean",
    "unpack",
]

DIRECTORY = ".vcache"
"""Where a tree keeps what it remembers, in its base."""

VCACHE = "vcache"
NINJA = "ninja"
GENERAL = "VCACHE_*"
"""Stands for all variables whose names begin so: they say where and whether results are kept."""

SAID = "vcache said 1"
"""How the file `said` begins: then a blank, and how many warnings stand in this tree."""

SEAL_BYTES = 16
_VERSION = 1
_MAGIC = b"vcache-tree\n" + bytes([_VERSION, sys.byteorder == "little", 0, 0])
_NAME_BYTES = 12
_ROW_BYTES = _NAME_BYTES + 4 + 8 + SEAL_BYTES
_VCACHEFILE = "vcachefile.py"
_NINJA_FILE = "build.ninja"
_CHUNK = 512
# Below this a fork costs more than it saves: 1 ms against 2 µs a file, measured on two cores.
_SHARE_LEAST = 3000
_SHARES_MOST = 4
_FRESH_S = 1.0
_CONTENT_BYTES = 32
_FRESH_BYTES = 4 + _CONTENT_BYTES

_signed = attrgetter("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev")
_NUMBERS = 5
"""Five 64-bit numbers in the machine's order are a signature: `fingerprint.digests.signature`."""


# --- sections: bytes under names, each with its length and its seal ------------------------------


def seal(data: Buffer) -> bytes:
    """What finds every accident in some bytes, by what the interpreter brings."""
    from _blake2 import blake2b

    return blake2b(data, digest_size=SEAL_BYTES).digest()


def pack(sections: Mapping[str, Buffer], seal: Seal) -> list[Buffer]:
    """Sections as the pieces of a file."""
    rows = []
    pieces: list[Buffer] = []
    for name, data in sections.items():
        size = len(memoryview(data).cast("B"))
        rows.append(name.encode().ljust(_NAME_BYTES + 4, b"\0") + size.to_bytes(8, "little") + seal(data))
        pieces.append(data)
        pieces.append(bytes(-size % 8))
    head = _MAGIC + len(rows).to_bytes(8, "little") + b"".join(rows)
    return [head, seal(head).ljust(SEAL_BYTES + -(len(head) + SEAL_BYTES) % 8, b"\0"), *pieces]


def unpack(data: Buffer, seal: Seal) -> Callable[[str], memoryview | None]:
    """What gives a section by its name; None when it is not there, or not as it was written.

    A seal is checked when its section is asked for: a run reads few of them.
    """
    view = memoryview(data).cast("B")
    places: dict[str, tuple[int, int, bytes]] = {}
    start = len(_MAGIC) + 8
    if view[: len(_MAGIC)] == _MAGIC and len(view) >= start:
        end = start + int.from_bytes(view[start - 8 : start], "little") * _ROW_BYTES
        if len(view) >= end + SEAL_BYTES and seal(view[:end]) == view[end : end + SEAL_BYTES]:
            at = end + SEAL_BYTES
            for row in range(start, end, _ROW_BYTES):
                name = bytes(view[row : row + _NAME_BYTES]).rstrip(b"\0").decode()
                size = int.from_bytes(view[row + _NAME_BYTES + 4 : row + _NAME_BYTES + 12], "little")
                at += -at % 8
                places[name] = at, at + size, bytes(view[row + _ROW_BYTES - SEAL_BYTES : row + _ROW_BYTES])
                at += size

    def section(name: str) -> memoryview | None:
        if name not in places:
            return None
        begin, end, expected = places[name]
        part = view[begin:end]
        return part if len(part) == end - begin and seal(part) == expected else None

    return section


# --- what is asked for ---------------------------------------------------------------------------


class Ask:
    """A plain command line.

    Attributes:
        directory: `-C`; "" for here.
        file: `-f`, as given; "" for none.
        goals: as given.
        is_quiet: nothing is said.
    """

    __slots__ = ("directory", "file", "goals", "is_quiet")

    def __init__(self, directory: str, file: str, goals: tuple[str, ...], *, is_quiet: bool) -> None:
        self.directory = directory
        self.file = file
        self.goals = goals
        self.is_quiet = is_quiet


def parse(words: Sequence[str], dialect: str) -> Ask | None:
    """What the words behind a command ask for; None when they are not plain ones."""
    given = {"-C": "", "-f": ""}
    numbers = ("-j", "-k") if dialect == NINJA else ("-j",)
    bare = "-v" if dialect == NINJA else "-q"
    goals = []
    rest = iter(words)
    is_quiet = False
    for word in rest:
        flag = word[:2]
        if word[:1] != "-":
            goals.append(word)
        elif word == bare:
            is_quiet = dialect == VCACHE
        elif word == "-k" and dialect == VCACHE:
            continue
        elif flag in numbers:
            if not (word[2:] or next(rest, "")).isdecimal():
                return None
        else:
            value = word[2:] or next(rest, "")
            if flag not in given or given[flag] or value[:1] in ("", "-"):
                return None
            given[flag] = value
    return Ask(given["-C"], given["-f"], tuple(goals), is_quiet=is_quiet)


def _key(file: str, goals: Iterable[str]) -> bytes:
    return "\0".join((file, *goals)).encode("utf-8", "surrogateescape")


def clean_name(file: str, goals: Iterable[str]) -> str:
    """The name, in `.vcache`, of what says whether these goals are made.

    Args:
        file: the build file, relative to the base, or as the command line has it.
        goals: as the command line has them.
    """
    return _name(_key(file, goals))


def _name(key: bytes) -> str:
    return "clean-" + seal(key).hex()


# --- what is written -----------------------------------------------------------------------------


def freeze(
    file: str,
    goals: Sequence[str],
    *,
    base: str,
    steps: int,
    files: Buffer,
    signatures: Buffer,
    links: Buffer,
    link_signatures: Buffer,
    present: Sequence[bytes],
    absent: Sequence[bytes],
    variables: Sequence[str],
    environ: Mapping[str, str],
    notes: Mapping[str, Buffer],
) -> list[Buffer]:
    """The pieces of a `clean-` file.

    Args:
        file, goals: as for `clean_name`.
        base: the absolute base. Paths are relative to it, or absolute.
        steps: how many steps are up to date.
        files: paths, each followed by a NUL: files and directories.
        signatures: one for each file, packed (`fingerprint.digests.signature`).
        links: as files, for symbolic links as they are themselves.
        present, absent: what is only asked whether it is there.
        variables: names of environment variables that count.
        notes: more sections, for who writes the file the next time.
    """
    salt = os.urandom(SEAL_BYTES)
    sections: dict[str, Buffer] = {
        "key": _key(file, goals),
        "base": os.fsencode(base),
        "steps": str(steps).encode(),
        "python": sys.version.encode(),
        "device": str(os.stat(base).st_dev).encode(),
        "files": files,
        "signs": signatures,
        "links": links,
        "link-signs": link_signatures,
        "present": b"\0".join(present),
        "absent": b"\0".join(absent),
        "names": "\0".join(variables).encode("utf-8", "surrogateescape"),
        "salt": salt,
        "values": sealed_environ(variables, environ, salt),
        **notes,
    }
    return pack(sections, seal)


def sealed_environ(names: Iterable[str], environ: Mapping[str, str], salt: bytes) -> bytes:
    """What is kept of variables instead of their values: a keyed hash of all of them."""
    from _blake2 import blake2b

    parts = []
    for name in names:
        if name == GENERAL:
            parts += [f"{each}={environ[each]}" for each in sorted(environ) if each[:7] == GENERAL[:7]]
        else:
            parts.append(f"{name}={environ[name]}" if name in environ else name)
        parts.append("")
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return blake2b(text, digest_size=SEAL_BYTES, key=salt).digest()


# --- what is asked before all else ---------------------------------------------------------------


def try_clean(words: Sequence[str], dialect: str) -> None:
    """Say that there is nothing to do and end the process, if that is certain; else return.

    Args:
        words: the command line behind the command.
        dialect: `VCACHE` or `NINJA`: how it is read, and what is said.
    """
    ask = parse(words, dialect)
    if ask is None:
        return
    gc.disable()  # 40,000 short-lived tuples: a third of the time would go into looking for cycles
    try:
        found = _check(ask, dialect)
    except (OSError, ValueError, ImportError):
        found = None
    finally:
        gc.enable()
    if found is not None and _say(ask, *found, dialect):
        os._exit(0)


def _check(ask: Ask, dialect: str) -> tuple[int, int] | None:
    """How many steps are up to date, and how many warnings stand; None when not all are known to be. Stays where it was."""
    start = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ask.directory:
            os.chdir(ask.directory)
        file = ask.file
        if not file:
            file = _VCACHEFILE if dialect == VCACHE and os.path.exists(_VCACHEFILE) else _NINJA_FILE
        place, name = os.path.split(file)
        # A vcachefile's own directory is its base; of a ninja file, the working directory is.
        if place and name[-3:] == ".py" and dialect == VCACHE:
            os.chdir(place)
            file = name
        steps = _check_base(_key(file, ask.goals), os.getcwd())
        return None if steps is None else (steps, _standing() if dialect == VCACHE else 0)
    finally:
        os.fchdir(start)
        os.close(start)


def _standing() -> int:
    """How many warnings stand in the tree of this directory, by the first line of the file that names them."""
    try:
        descriptor = os.open(f"{DIRECTORY}/said", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        head, _, _ = os.read(descriptor, 64).partition(b"\n")
    finally:
        os.close(descriptor)
    words, _, count = head.decode("ascii", "replace").rpartition(" ")
    return int(count) if words == SAID and count.isdecimal() else 0


def _check_base(key: bytes, base: str) -> int | None:
    section = load(f"{DIRECTORY}/{_name(key)}")
    return None if section is None else _check_sections(section, key, base)


def load(path: str) -> Callable[[str], memoryview | None] | None:
    """The sections of a `clean-` file; None when there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return unpack(_read(descriptor, os.fstat(descriptor).st_size), seal)
    finally:
        os.close(descriptor)


def _read(descriptor: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(descriptor, size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_sections(section: Callable[[str], memoryview | None], key: bytes, base: str) -> int | None:
    expected: tuple[tuple[str, bytes], ...] = (
        ("key", key),
        ("base", os.fsencode(base)),
        ("python", sys.version.encode()),
        ("device", str(os.stat(".").st_dev).encode()),
    )
    if any(section(name) != memoryview(value) for name, value in expected):
        return None
    names, salt, values = section("names"), section("salt"), section("values")
    if names is None or salt is None or values is None:
        return None
    variables = bytes(names).decode("utf-8", "surrogateescape").split("\0")
    if sealed_environ(variables, os.environ, bytes(salt)) != bytes(values):
        return None
    steps = section("steps")
    if steps is None or not _is_there(section) or not _is_same(section, base):
        return None
    return int(bytes(steps))


def _is_there(section: Callable[[str], memoryview | None]) -> bool:
    present, absent = section("present"), section("absent")
    if present is None or absent is None:
        return False
    return all(map(os.path.lexists, _paths(present))) and not any(map(os.path.exists, _paths(absent)))


def _paths(names: memoryview) -> list[bytes]:
    return bytes(names).rstrip(b"\0").split(b"\0") if names else []


def _is_same(section: Callable[[str], memoryview | None], base: str) -> bool:
    files, signs = section("files"), section("signs")
    links, link_signs = section("links"), section("link-signs")
    if files is None or signs is None or links is None or link_signs is None:
        return False
    if differing(_paths(links), link_signs.cast("q"), os.lstat):
        return False
    paths = _paths(files)
    found = _unread(differing(paths, signs.cast("q")), paths, section("fresh"))
    generation, numbers = section("generation"), section("numbers")
    if found and generation is not None and numbers is not None:
        leave(base, bytes(generation), numbers.cast("I"), found)
    return not found


def _unread(places: list[int], paths: list[bytes], fresh: memoryview | None) -> list[int]:
    """The places whose file is not one that was too young for a signature and holds what it held."""
    if not fresh or not places:
        return places
    rows = range(0, len(fresh) - _FRESH_BYTES + 1, _FRESH_BYTES)
    known = {int.from_bytes(fresh[at : at + 4], "little"): fresh[at + 4 : at + _FRESH_BYTES] for at in rows}
    return [place for place in places if place not in known or _content_of(paths[place]) != known[place]]


def fresh_row(place: int, content: bytes) -> bytes:
    """What says that the file at a place is too young for a signature, and what it holds."""
    from _blake2 import blake2b

    return place.to_bytes(4, "little") + blake2b(content, digest_size=_CONTENT_BYTES).digest()


def _content_of(path: bytes) -> bytes:
    """The digest of what a file holds; b"" when it cannot be read."""
    from _blake2 import blake2b

    hasher = blake2b(digest_size=_CONTENT_BYTES)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        while part := os.read(descriptor, 1 << 20):
            hasher.update(part)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    return hasher.digest()


# --- one stat for each file ------------------------------------------------------------------------


def differing(
    paths: list[bytes],
    signatures: memoryview,
    look: Callable[[bytes], os.stat_result] = os.stat,
    *,
    may_fork: bool = True,
) -> list[int]:
    """Which paths, by their places in the list, have another signature than the one given, or are gone.

    Args:
        signatures: `_NUMBERS` numbers for each path.
        may_fork: shares of a long list may be looked at by child processes. Threads would take turns
            at the interpreter's lock.
    """
    count = len(paths)
    shares = min(count // _SHARE_LEAST, _SHARES_MOST, len(os.sched_getaffinity(0))) if may_fork else 1
    if shares < 2:
        return _differing(paths, signatures, 0, count, look)
    size = -(-count // shares)
    children = [_send_differing(paths, signatures, at, at + size, look) for at in range(size, count, size)]
    found = _differing(paths, signatures, 0, size, look)
    for child, descriptor, at in children:
        answer = _received(child, descriptor)
        # Without an answer, such as when a child was killed, its share is looked at here.
        found += _differing(paths, signatures, at, at + size, look) if answer is None else answer
    return found


def _differing(
    paths: list[bytes],
    signatures: memoryview,
    begin: int,
    end: int,
    look: Callable[[bytes], os.stat_result],
) -> list[int]:
    end = min(end, len(paths))
    found: list[int] = []
    for at in range(begin, end, _CHUNK):
        part = paths[at : min(at + _CHUNK, end)]
        flat = iter(signatures[at * _NUMBERS : (at + len(part)) * _NUMBERS].tolist())
        expected = list(zip(*[flat] * _NUMBERS))  # noqa: B905  # they are as many as they are
        try:
            # Compared as a whole, since the usual answer is that all are the same.
            if list(map(_signed, map(look, part))) == expected:
                continue
        except OSError:
            pass
        found += [
            at + place
            for place, (path, sign) in enumerate(zip(part, expected, strict=True))
            if _sign_of(path, look) != sign
        ]
    return found


def _sign_of(path: bytes, look: Callable[[bytes], os.stat_result]) -> tuple[int, ...]:
    try:
        sign: tuple[int, ...] = _signed(look(path))
    except OSError:
        return ()
    return sign


def _send_differing(
    paths: list[bytes],
    signatures: memoryview,
    at: int,
    end: int,
    look: Callable[[bytes], os.stat_result],
) -> tuple[int, int, int]:
    """Let a child look at a share: its number, where its answer is read, and where the share begins."""
    reads, writes = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child:
        os.close(writes)
        return child, reads, at
    status = 1
    try:
        answer = " ".join(map(str, _differing(paths, signatures, at, end, look))).encode()
        while answer:
            answer = answer[os.write(writes, answer) :]
        status = 0
    finally:
        os._exit(status)


def _received(child: int, descriptor: int) -> list[int] | None:
    """What a child found; None if it did not end well."""
    parts = []
    while part := os.read(descriptor, 1 << 16):
        parts.append(part)
    os.close(descriptor)
    return None if os.waitpid(child, 0)[1] else list(map(int, b"".join(parts).split()))


# --- what the full way need not look at again --------------------------------------------------------


class Left:
    """What a look found that was not clean.

    Attributes:
        base: the base.
        generation: of the tree that the numbers are of.
        numbers: of all things looked at.
        differing: of those with another signature.
        at_s: when that was, by the monotonic clock.
    """

    __slots__ = ("at_s", "base", "differing", "generation", "numbers")

    def __init__(self, base: str, generation: bytes, numbers: memoryview, differing: list[int]) -> None:
        self.base = base
        self.generation = generation
        self.numbers = numbers
        self.differing = differing
        self.at_s = time.monotonic()


_left: Left | None = None


def leave(base: str, generation: bytes, numbers: memoryview, places: list[int]) -> None:
    """Leave what was found for `take`."""
    global _left
    # Behind the tree's own things there are directories and tools, which are looked at in another way.
    found = [numbers[place] for place in places if place < len(numbers)]
    _left = Left(base, generation, numbers, found)


def take(base: str, generation: bytes) -> Left | None:
    """What was found in a base a moment ago, once."""
    global _left
    left, _left = _left, None
    is_fit = left is not None and left.base == base and left.generation == generation
    # Who waited for another run's lock meanwhile looks again.
    return left if is_fit and left is not None and time.monotonic() - left.at_s < _FRESH_S else None


def _say(ask: Ask, steps: int, warnings: int, dialect: str) -> bool:
    if dialect == NINJA:
        text = f"ninja: Entering directory `{ask.directory}'\n" if ask.directory else ""
        text += "ninja: no work to do.\n"
    elif ask.is_quiet:
        text = ""
    else:
        text = f"nothing to do: {steps:,} up to date" if steps else "nothing to do"
        text += f"; {warnings:,} warning{'s' if warnings > 1 else ''}\n" if warnings else "\n"
    try:
        os.write(1, os.fsencode(text))
    except OSError:
        return False
    return True
