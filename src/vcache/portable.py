"""What a result says of the place it was made in: names and words without it, and traces of it.

Two checkouts agree on a key since paths below the root are named without it; they may share a result
if nothing in it gives the root away. It knows bytes and files, and nothing of caches. The rules are
those of docs/design/build.md.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from vcache.entry import Dep
from vcache.hash import digest

__all__ = [
    "PLACE",
    "RECIPE",
    "ROOT",
    "argv_dep",
    "cwd_dep",
    "depfile_dep",
    "is_told_by",
    "leaves_of",
    "names_root",
    "out_dep",
    "place_dep",
    "portable_name",
    "portable_text",
    "rsp_dep",
    "set_dep",
    "shell_words",
    "words_identity",
]

ROOT: Final = "@root@"
"""What stands for the root in portable text."""
RECIPE: Final = Dep("recipe", "action", b"1")
"""The version of docs/design/build.md."""
PLACE: Final = ("place", "root")
"""Kind and name of what a result depends on that is true in one place only."""
_COUNT: Final = struct.Struct("<I")
# What ends a path in a command line. A comma or an equals sign may be part of a name, but hardly
# ever is one; a backslash quotes what follows, which goes on with the name.
_ENDS: Final = r"\s\"'`:;,=|&<>()\[\]{}"


# -- words and names -------------------------------------------------------------------------------


def portable_text(text: str, root: str) -> str:
    """A text with the root's path replaced by `@root@`, where it is a whole path or begins one.

    `-I/p/src` and `-DX="/p"` begin with the root `/p`; `/usr/p` and `/p2` do not. Two texts become
    one only if they differ in the root: a literal `@root@` is changed, too.
    """
    if ROOT in text:
        text = text.replace(ROOT, "@root@@")
    return _root_pattern(root).sub(rf"\1{ROOT}", text) if root in text else text


@lru_cache(maxsize=16)
def _root_pattern(root: str) -> re.Pattern[str]:
    # In front: nothing, `@` of a response file, or a flag such as -I. After anything else, as in
    # `src/p`, the root's path is part of a longer one.
    return re.compile(rf"((?:\A|[{_ENDS}])(?:@|-[A-Za-z-]*)?){re.escape(root)}(?=[/{_ENDS}]|\Z)")


def names_root(texts: Iterable[str], root: str) -> bool:
    """Whether one of these texts holds the root's path."""
    return any(root in text for text in texts)


def portable_name(path: str, root: str) -> str:
    """The name of an absolute, normal path: below the root relative to it, elsewhere the path itself."""
    if path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) + 1 :] or "."
    return path


def words_identity(argv: Iterable[str]) -> bytes:
    """The BLAKE3 of the length-prefixed words."""
    return digest(b"".join(_COUNT.pack(len(word)) + word for word in map(os.fsencode, argv)))


def shell_words(line: str) -> tuple[str, str, str]:
    """What runs a line of shell."""
    return "/bin/sh", "-c", line


# -- what a base manifest holds --------------------------------------------------------------------


def argv_dep(argv: Iterable[str], root: str) -> Dep:
    """A command's words. They are kept in clear, for `why`."""
    words = [portable_text(word, root) for word in argv]
    return Dep("argv", "argv", words_identity(words), note=_shown(" ".join(map(_quoted, words))))


def _quoted(word: str) -> str:
    """As `shlex.quote`, which takes 0.3 ms to load."""
    if word and re.search(r"(?a)[^\w@%+=:,./-]", word) is None:
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def cwd_dep(name: str) -> Dep:
    """The working directory, by its name below the root."""
    return Dep("cwd", "cwd", os.fsencode(name), note=_shown(name))


def set_dep(name: str, value: str, root: str) -> Dep:
    """A variable that the build sets. Its value is kept in clear."""
    text = portable_text(value, root)
    return Dep("set", name, os.fsencode(text), note=_shown(text))


def rsp_dep(content: str, root: str) -> Dep:
    """What a response file holds."""
    return Dep("rsp", "rsp", digest(os.fsencode(portable_text(content, root))))


def out_dep(name: str) -> Dep:
    """A promised output."""
    return Dep("out", name, b"1")


def depfile_dep(name: str) -> Dep:
    """The file that names what else was read."""
    return Dep("depfile", name, b"1")


def place_dep(root: str | os.PathLike[str]) -> Dep:
    """The place that a result is bound to: the root, and what it really is where it is a link."""
    return Dep(*PLACE, b"\0".join(_roots(root)), note=_shown(os.fspath(root)))


def _shown(text: str) -> str:
    """A note for people: a name that is no text must not make an entry unreadable."""
    return os.fsencode(text).decode("utf-8", "replace")


# -- traces of the place ---------------------------------------------------------------------------


def is_told_by(
    root: str | os.PathLike[str],
    *,
    files: Iterable[str] = (),
    texts: Iterable[bytes] = (),
    is_named: bool,
) -> bool:
    """Whether a result gives the root away, or may do so.

    Args:
        files: absolute paths of regular files.
        texts: what it wrote, where links lead.
        is_named: the command named the root: what cannot be looked into is then taken to hold it.

    Raises:
        OSError: a file cannot be read.
    """
    needles = _roots(root)
    if any(needle in text for text in texts for needle in needles):
        return True
    return any(_is_in_file(path, needles, is_named=is_named) for path in files)


def leaves_of(path: str) -> Iterable[tuple[str, bool]]:
    """All files at a path and below, and whether each is a link.

    Raises:
        OSError: there is nothing at the path.
    """
    mode = os.lstat(path).st_mode
    if stat.S_ISDIR(mode):
        for name in os.listdir(path):
            yield from leaves_of(os.path.join(path, name))
    elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
        yield path, stat.S_ISLNK(mode)


def _roots(root: str | os.PathLike[str]) -> tuple[bytes, ...]:
    """The path of the root as given, and as a compiler finds it that asks for its directory."""
    return tuple(dict.fromkeys((os.fsencode(root), os.fsencode(os.path.realpath(root)))))


_CHUNK_BYTES: Final = 1 << 20
# gzip, zstd, xz, bzip2, zip (also an empty one), 7z, lz4, lzip, Unix compress, zlib; what is packed
# within: PDF, Debian packages; and what packs text by the bit: LLVM bitcode (bare, wrapped), clang's modules.
_PACKED: Final = (
    b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh", b"PK\3\4", b"PK\5\6",
    b"7z\xbc\xaf\x27\x1c", b"\x04\x22\x4d\x18", b"LZIP", b"\x1f\x9d", b"x\x01", b"x\x9c", b"x\xda",
    b"%PDF", b"!<arch>\ndebian-binary", b"BC\xc0\xde", b"\xde\xc0\x17\x0b", b"CPCH",
)  # fmt: skip
_ELF: Final = b"\x7fELF"
_ARCHIVE: Final = b"!<arch>\n"
# What gcc -flto writes is packed and says so nowhere: gcc/lto-streamer.h.
_LTO: Final = b".gnu.lto_"
# As gcc -gz=zlib-gnu packs: an older way, not worth looking into.
_OLD_PACKED: Final = b".zdebug_"


def _is_in_file(path: str, needles: tuple[bytes, ...], *, is_named: bool) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        magic = os.pread(fd, 32, 0)
        if magic.startswith(_PACKED):
            return is_named
        if not magic.startswith((_ELF, _ARCHIVE)):
            return _is_in(fd, needles)
        # An archive is made of files that were looked at when they were made.
        is_elf = magic.startswith(_ELF)
        sought = (*needles, *((_LTO,) * is_named), *((_OLD_PACKED,) * is_elf))
        return _is_in(fd, sought) or (is_elf and _is_in_sections(fd, needles))
    finally:
        os.close(fd)


def _is_in(fd: int, needles: tuple[bytes, ...]) -> bool:
    """Whether a file holds one of these, read piece by piece, with room for what lies across two."""
    overlap = max(map(len, needles)) - 1
    kept = b""
    while chunk := os.read(fd, _CHUNK_BYTES):
        chunk = kept + chunk
        if any(needle in chunk for needle in needles):
            return True
        kept = chunk[-overlap:] if overlap else b""
    return False


# The layout of ELF: System V ABI, chapter 4, "ELF Header", "Sections", "Compressed Sections".
_SHF_COMPRESSED: Final = 0x800
_BY_ZLIB: Final = 1
_SECTIONS_AT: Final = {1: ("I", 32, 46), 2: ("Q", 40, 58)}  # by class: e_shoff, e_shentsize
_SECTION: Final = {1: "IIIIIIIIII", 2: "IIQQQQIIQQ"}
_HEAD_BYTES: Final = {1: 12, 2: 24}  # of an Elf32_Chdr, Elf64_Chdr


def _is_in_sections(fd: int, needles: tuple[bytes, ...]) -> bool:
    """Whether a compressed section of an ELF file (gcc -gz) holds one of these, or cannot be looked into."""
    header, size_bytes = os.pread(fd, 64, 0), os.fstat(fd).st_size
    try:
        order = {1: "<", 2: ">"}[header[5]]
        word, offset_at, sizes_at = _SECTIONS_AT[header[4]]
        (table_at,) = struct.unpack_from(order + word, header, offset_at)
        entry_bytes, count = struct.unpack_from(order + "HH", header, sizes_at)
        section = struct.Struct(order + _SECTION[header[4]])
        head_bytes = _HEAD_BYTES[header[4]]
        if not table_at:
            return False
        if not count:  # more than 65,279: the first section says how many
            count = section.unpack(os.pread(fd, section.size, table_at))[5]
        if table_at + entry_bytes * count > size_bytes:
            return True
        table = os.pread(fd, entry_bytes * count, table_at)
        for at in range(0, entry_bytes * count, entry_bytes):
            fields = section.unpack_from(table, at)
            if fields[2] & _SHF_COMPRESSED:
                data = os.pread(fd, min(fields[5], size_bytes), fields[4])
                (kind,) = struct.unpack_from(order + "I", data)
                if kind != _BY_ZLIB or _is_in_zlib(data[head_bytes:], needles):
                    return True
    except (KeyError, IndexError, struct.error, OverflowError):
        return True  # truncated, or of a kind nobody knows
    return False


def _is_in_zlib(data: bytes, needles: tuple[bytes, ...]) -> bool:
    import zlib  # for -gz only

    overlap = max(map(len, needles)) - 1
    unpacker, kept = zlib.decompressobj(), b""
    try:
        while data:
            chunk = kept + unpacker.decompress(data, _CHUNK_BYTES)
            if any(needle in chunk for needle in needles):
                return True
            kept, data = chunk[-overlap:] if overlap else b"", unpacker.unconsumed_tail
    except zlib.error:
        return True
    return not unpacker.eof
