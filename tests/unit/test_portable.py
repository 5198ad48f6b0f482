"""Words without their place, and traces of a place in what a command made."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache import portable
from vcache.fingerprint.places import Places
from vcache.portable import (
    argv_dep,
    is_told_by,
    place_dep,
    portable_name,
    portable_text,
    set_dep,
    shell_words,
    words_identity,
)

ROOT = "/home/u/p"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("/home/u/p", "@root@"),
        ("/home/u/p/", "@root@/"),
        ("/home/u/p/src/a.c", "@root@/src/a.c"),
        ("-I/home/u/p/inc", "-I@root@/inc"),
        ("-ffile-prefix-map=/home/u/p=.", "-ffile-prefix-map=@root@=."),
        ('-DDIR="/home/u/p"', '-DDIR="@root@"'),
        ("-Wl,-rpath,/home/u/p/lib:/home/u/p", "-Wl,-rpath,@root@/lib:@root@"),
        ("cd /home/u/p && make -C /home/u/p/sub;", "cd @root@ && make -C @root@/sub;"),
        ("$(cat /home/u/p)", "$(cat @root@)"),
        ("/home/u/p /home/u/p", "@root@ @root@"),
        ("a\n/home/u/p\nb", "a\n@root@\nb"),
        ("//home/u/p", "//home/u/p"),
        ("/mnt/home/u/p/a", "/mnt/home/u/p/a"),
        ("-I/mnt/home/u/p", "-I/mnt/home/u/p"),
        ("../home/u/p", "../home/u/p"),
        ("src/home/u/p", "src/home/u/p"),
        ("-I../home/u/p", "-I../home/u/p"),
        ("@/home/u/p/a.rsp", "@@root@/a.rsp"),
        ("/home/u/p2", "/home/u/p2"),
        ("/home/u/p-debug/a", "/home/u/p-debug/a"),
        ("/home/u/p.old", "/home/u/p.old"),
        ("/home/u/p\\ q/a", "/home/u/p\\ q/a"),
        ("/home/u/p*", "/home/u/p*"),
        ("/home/u/p$X", "/home/u/p$X"),
        ("/home/u/", "/home/u/"),
        ("@root@/a", "@root@@/a"),
    ],
)
def test_the_root_is_named_only_where_it_stands(text, expected):
    """A whole path or the beginning of one; not the middle of another, nor a longer name."""
    assert portable_text(text, ROOT) == expected


@pytest.mark.parametrize("root", ["/", "/a.b", "/a+b", "/with space", "/[odd]"])
def test_any_path_can_be_a_root(root):
    """Characters that mean something in a pattern mean themselves in a path."""
    assert portable_text(f"-I{root}", root) == "-I@root@"
    assert portable_text(root.replace(".", "x").replace("+", "b") + "x", root) != "@root@"


WORDS = st.lists(
    st.sampled_from(["/p", "/q", "/", "x", " ", "=", ":", "@", "@root@", "-I", '"', ".", "\\", "\n"]),
    max_size=8,
).map("".join)


@given(WORDS, WORDS)
def test_two_texts_become_one_only_if_they_differ_in_the_root(one, two):
    """In one place no two texts have one portable text; and the root never is left where it stood."""
    a, b = portable_text(one, "/p"), portable_text(two, "/p")
    assert (a == b) == (one == two)
    assert not re.search(r"(?:\A|\s)/p(?:[/\s]|\Z)", a)


@given(
    st.lists(st.sampled_from(["\0", "/", "x", " ", "=", ":", "-I", '"', ".", "\\"]), max_size=8).map("".join)
)
def test_two_places_agree(text):
    """A text that names only its own root is one wherever that is, unless it is part of a longer path."""
    one, two = (portable_text(text.replace("\0", root), root) for root in ("/p", "/q/r"))
    assert one == two or "/p" in one


@pytest.mark.parametrize(
    "path", ["/home/u/p", "/home/u/p/a", "/home/u/p/a/b", "/home/u/p2", "/home/u", "/", "/x"]
)
def test_names_are_those_of_the_observer(path):
    """A path has the name that a manifest has for it."""
    assert portable_name(path, ROOT) == Places(ROOT).name(path)


def test_words_are_kept_apart():
    """Where one word ends and the next begins counts; so does whether there is one."""
    several = [["a", "b"], ["ab"], ["a b"], ["", "a", "b"], ["a", "b", ""], [], [""], ["b", "a"]]
    assert len({words_identity(words) for words in several}) == len(several)
    assert words_identity(["\udcff"]) != words_identity(["?"])  # any bytes can be an argument


def test_a_command_is_one_in_every_checkout():
    """Words and their note name no place; a shell line is the words of who runs it."""
    one, two = (argv_dep(shell_words(f"gcc -I{root}/inc -c a.c"), root) for root in ("/here", "/there/deep"))
    assert one == two
    assert one.note == two.note == "/bin/sh -c 'gcc -I@root@/inc -c a.c'"
    assert set_dep("PATH", "/here/bin:/bin", "/here").identity == b"@root@/bin:/bin"
    assert "\ufffd" in argv_dep(["\udcff"], "/").note


def told(root: Path, *files: Path, texts: tuple[bytes, ...] = (), is_named: bool = False) -> bool:
    return is_told_by(root, files=map(str, files), texts=texts, is_named=is_named)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def test_what_holds_the_path_is_told(root):
    """Anywhere in a file or in words, also as the beginning of a longer name."""
    path = os.fsencode(root)
    out = root / "out"
    for content, is_told in {b"": False, path: True, b"a" + path + b"b": True, path[:-1]: False}.items():
        out.write_bytes(content)
        assert told(root, out) is is_told
        assert told(root, texts=(b"", content)) is is_told


@pytest.mark.parametrize("at", [-1, 0, 1, 5])
def test_a_path_across_two_pieces_is_found(root, at, monkeypatch):
    """Large files are read piece by piece."""
    monkeypatch.setattr(portable, "_CHUNK_BYTES", 1 << 10)
    path = os.fsencode(root)
    for start in (1 << 10, 2 << 10):
        (root / "out").write_bytes(b"x" * (start - len(path) + at) + path + b"x" * 100)
        assert told(root, root / "out")
        (root / "out").write_bytes(b"x" * (start - len(path) + at) + path[:-1] + b"x" * 100)
        assert not told(root, root / "out")


def test_a_root_behind_a_link_has_two_paths(root, tmp_path):
    """A compiler that asks for its directory is told the real one."""
    (tmp_path / "link").symlink_to(root)
    (root / "out").write_bytes(os.fsencode(root))
    (root / "other").write_bytes(os.fsencode(tmp_path / "link"))
    assert told(tmp_path / "link", root / "out")
    assert told(tmp_path / "link", root / "other")
    assert not told(root, root / "other")
    assert place_dep(tmp_path / "link").identity != place_dep(root).identity


def _zipped(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", content)


PACKERS = {
    "gzip": lambda path, content: path.write_bytes(gzip.compress(content)),
    "bzip2": lambda path, content: path.write_bytes(bz2.compress(content)),
    "xz": lambda path, content: path.write_bytes(lzma.compress(content)),
    "zip": _zipped,
    "zlib": lambda path, content: path.write_bytes(zlib.compress(content)),
    "zstd": lambda path, content: subprocess.run(["zstd", "-q", "-o", path], input=content, check=True),
}


@pytest.mark.parametrize("packer", PACKERS)
def test_what_is_packed_may_hold_the_path(root, packer):
    """It is taken to if the command named the root, and not if it could not know it from its words."""
    PACKERS[packer](root / "out", b"nothing of it")
    assert told(root, root / "out", is_named=True)
    assert not told(root, root / "out", is_named=False)


@pytest.mark.parametrize("flags", [["-flto"], ["-emit-llvm"]])
def test_bitcode_of_clang_is_packed(root, flags):
    """It keeps names of files in 6 or 7 bits a letter."""
    (root / "a.c").write_text("int f(void) { return 1; }\n")
    subprocess.run(["clang", *flags, "-c", f"{root}/a.c", "-o", "a.o"], cwd=root, check=True)
    assert told(root, root / "a.o", is_named=True)


@pytest.mark.parametrize("bits", ["-m64", "-m32"])
@pytest.mark.parametrize(
    ("flags", "is_told"),
    [
        ([], False),
        (["-g"], True),
        (["-g", "-ffile-prefix-map={root}=."], False),
        (["-g", "-gz=zlib"], True),
        (["-g", "-gz=zlib", "-ffile-prefix-map={root}=."], False),
        (["-gz=zlib"], False),
    ],
)
def test_objects_of_gcc(root, flags, is_told, bits):
    """Debugging information says where a file was compiled, packed or not, unless the place is mapped away."""
    # Long enough to be worth packing.
    source = "".join(f"int function_{n}(int a) {{ return a + {n}; }}\n" for n in range(50))
    (root / "a.c").write_text(source)
    flags = [flag.format(root=root) for flag in flags]
    subprocess.run(["gcc", bits, *flags, "-c", "a.c"], cwd=root, check=True)
    is_named = any(str(root) in flag for flag in flags)
    assert told(root, root / "a.o", is_named=is_named) is is_told


def test_bytecode_of_the_link_time_optimiser_is_packed(root):
    """What gcc -flto writes cannot be looked into."""
    (root / "a.c").write_text("int f(void) { return 1; }\n")
    subprocess.run(["gcc", "-flto", "-c", "a.c"], cwd=root, check=True)
    assert told(root, root / "a.o", is_named=True)
    assert not told(root, root / "a.o", is_named=False)


def test_sections_that_cannot_be_unpacked_are_taken_to_tell(root):
    """Truncated, damaged or packed in an unknown way: nobody can say that the path is not there."""
    source = "".join(f"int function_{n}(int a) {{ return a + {n}; }}\n" for n in range(50))
    (root / "a.c").write_text(source)
    subprocess.run(
        ["gcc", "-g", "-gz=zlib", f"-ffile-prefix-map={root}=.", "-c", "a.c"], cwd=root, check=True
    )
    whole = (root / "a.o").read_bytes()
    assert not told(root, root / "a.o")
    at = next(
        at
        for at in range(len(whole))
        if whole[at : at + 2] == b"\x78\x9c" or whole[at : at + 2] == b"\x78\x5e"
    )
    assert zlib.decompressobj().decompress(whole[at:])
    for damaged in (
        whole[:at] + b"\xff" * 8 + whole[at + 8 :],
        whole[: at - 24] + b"\x02" + whole[at - 23 :],  # ELFCOMPRESS_ZSTD
        whole[:100],
        whole[:20],
    ):
        (root / "a.o").write_bytes(damaged)
        assert told(root, root / "a.o")
