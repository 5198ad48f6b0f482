"""Which files a pattern finds."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vcache.errors import FingerprintError
from vcache.fingerprint.globs import Directories, escape, split

TREE = (
    "a.c", "b.c", "b.h", ".hidden.c", "inc/x.h", "inc/sub/y.h", "inc/sub/.z.h", ".github/ci.yml", ".git/HEAD",
    "src/a/deep/one.c", "src/a/two.c", "src/three.c", "we[i]rd/q.c", "target/CACHEDIR.TAG", "target/out.c",
)  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in TREE:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "empty").mkdir()
    return tmp_path


def find(root: Path, pattern: str, *, hidden: bool = False) -> list[str]:
    start, parts = split(pattern)
    found = Directories().match(str(root / start), parts, hidden=hidden)
    return [os.path.relpath(path, root) for path in found]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.c", ["a.c", "b.c"]),
        ("?.[ch]", ["a.c", "b.c", "b.h"]),
        ("[!a].c", ["b.c"]),
        ("a.c", ["a.c"]),
        ("nope.c", []),
        ("nope/*.c", []),
        ("a.c/*", []),
        ("empty", []),
        ("inc", ["inc/sub/y.h", "inc/x.h"]),
        ("inc/", ["inc/sub/y.h", "inc/x.h"]),
        ("inc/**", ["inc/sub/y.h", "inc/x.h"]),
        ("inc/*", ["inc/x.h"]),
        ("./inc//x.h", ["inc/x.h"]),
        ("src/**/*.c", ["src/a/deep/one.c", "src/a/two.c", "src/three.c"]),
        ("src/**/**/*.c", ["src/a/deep/one.c", "src/a/two.c", "src/three.c"]),
        ("src/**/deep/**", ["src/a/deep/one.c"]),
        ("src/*/", ["src/a/deep/one.c", "src/a/two.c"]),
        ("*/*.c", ["src/three.c", "target/out.c", "we[i]rd/q.c"]),
        ("**/two.c", ["src/a/two.c"]),
        ("**/*.c", ["a.c", "b.c", "src/a/deep/one.c", "src/a/two.c", "src/three.c", "we[i]rd/q.c"]),
        (".*.c", [".hidden.c"]),
        (".github/*", [".github/ci.yml"]),
        (".git*/*", [".github/ci.yml"]),
        (".git/*", [".git/HEAD"]),
        ("target/**", ["target/CACHEDIR.TAG", "target/out.c"]),
        (escape("we[i]rd") + "/*", ["we[i]rd/q.c"]),
    ],
)
def test_patterns(tree: Path, pattern: str, found: list[str]) -> None:
    """Wildcards as the docstring of Glob says."""
    assert find(tree, pattern) == found


def test_hidden_files_when_asked(tree: Path) -> None:
    """Hidden names are found on request; a version control's own never by a wildcard."""
    assert find(tree, "*.c", hidden=True) == [".hidden.c", "a.c", "b.c"]
    everything = find(tree, "**", hidden=True)
    assert {".hidden.c", ".github/ci.yml", "inc/sub/.z.h"} < set(everything)
    assert not [name for name in everything if name.startswith((".git/", "target/"))]
    assert find(tree, "*/*", hidden=True)[0] == ".github/ci.yml"


def test_links_are_followed_but_not_in_circles(tree: Path) -> None:
    """A linked directory counts; a link back to where the walk came from ends it."""
    (tree / "src" / "link").symlink_to("../inc")
    (tree / "src" / "a" / "loop").symlink_to("../../src")
    (tree / "src" / "self").symlink_to(".")
    (tree / "src" / "ring").symlink_to("ring")
    (tree / "src" / "broken.c").symlink_to("nowhere")
    (tree / "src" / "linked.c").symlink_to("../a.c")
    assert find(tree, "src/**") == [
        "src/a/deep/one.c", "src/a/two.c", "src/link/sub/y.h", "src/link/x.h", "src/linked.c", "src/three.c",
    ]  # fmt: skip
    assert find(tree, "src/**/a/**/*.c") == ["src/a/deep/one.c", "src/a/two.c"]


def test_only_regular_files_match(tree: Path) -> None:
    """A FIFO among the sources is passed over, not opened."""
    os.mkfifo(tree / "pipe.c")
    assert find(tree, "*.c") == ["a.c", "b.c"]
    assert find(tree, "pipe.c") == []


def test_listings_are_remembered_and_renewed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged directory is not read again; a changed one is, and a link's target anew each time."""
    directories = Directories(clock=lambda: time.time_ns() + 10**11)
    real, reads = os.scandir, []

    def counted(path: str) -> object:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", counted)
    (tree / "inc" / "l.h").symlink_to("target")

    def found() -> list[str]:
        return [
            os.path.basename(path) for path in directories.match(str(tree / "inc"), ("*.h",), hidden=False)
        ]

    assert found() == found() == ["x.h"]
    assert len(reads) == 1
    (tree / "inc" / "new.h").write_text("")
    assert found() == ["new.h", "x.h"]
    assert len(reads) == 2
    assert directories.names(str(tree / "nope")) is None
    assert directories.names(str(tree / "a.c")) is None
    assert directories.names(str(tree / "empty")) == ()


def test_a_link_that_comes_to_life_is_seen(tree: Path) -> None:
    """The directory of a link does not change when its target does: the target is asked each time."""
    directories = Directories(clock=lambda: time.time_ns() + 10**11)
    (tree / "inc" / "l.h").symlink_to("../later")
    assert len(directories.match(str(tree / "inc"), ("*.h",), hidden=False)) == 1
    (tree / "later").write_text("")
    assert len(directories.match(str(tree / "inc"), ("*.h",), hidden=False)) == 2


def test_an_unreadable_directory_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be listed is an error, never a shorter list. (Root is denied nothing: simulated.)"""

    def denied(_: str) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(FingerprintError, match=r"inc': Permission denied"):
        find(tree, "inc/*")
