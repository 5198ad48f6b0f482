"""Times of files that lie, and edits within one tick of the clock: content decides, each time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.faults.workshop import NINJA, VCACHEFILE, Shop, expected

HOURS: Final = 3600
COPY: Final = {
    NINJA: "rule copy\n  command = cat $in > $out\nbuild out: copy in.txt\n",
    VCACHEFILE: (
        "from vcache.dag import File, build, sh\n"
        "@build.step(outs=['out'])\ndef out(src: File):\n    return sh('cat in.txt > out')\n"
        "build.default(out(File('in.txt')))\n"
    ),
}
DIALECTS: Final = (NINJA, VCACHEFILE)


def copying(tmp_path: Path, file: str) -> Shop:
    """A tree whose one step copies a file."""
    shop = Shop(tmp_path / "tree", tmp_path / "cache", file)
    shop.root.mkdir()
    (shop.root / file).write_text(COPY[file])
    (shop.root / "in.txt").write_text("0000")
    return shop


def made_at_once(shop: Shop, edits: int, *, is_real: bool = False) -> None:
    """Edit and build, over and over, without a pause: same length, so that only times and content differ."""
    for number in range(edits):
        with open(shop.root / "in.txt", "r+") as file:  # in place: the same inode
            file.write(f"{number:04}")
        built = shop.run().check() if is_real else shop.build()
        assert (shop.root / "out").read_text() == f"{number:04}", built.text
        if number % 3 == 0:  # an edit right behind the end, and back again behind that
            (shop.root / "in.txt").write_text("back")
            shop.run().check() if is_real else shop.build()
            assert (shop.root / "out").read_text() == "back"


@pytest.mark.parametrize("file", DIALECTS)
@pytest.mark.parametrize("edits", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_an_edit_right_after_a_build_is_seen(tmp_path: Path, file: str, edits: int) -> None:
    """Edits within the same clock tick as the end of the last build: every build makes the right output."""
    made_at_once(copying(tmp_path, file), edits)


@pytest.mark.parametrize("file", DIALECTS)
def test_the_real_command_sees_edits_right_after_a_build(tmp_path: Path, file: str) -> None:
    """The same for the quick look, which runs before anything else is loaded."""
    made_at_once(copying(tmp_path, file), 4, is_real=True)


def test_a_compiler_s_records_see_edits_of_one_tick(tmp_path: Path) -> None:
    """`vcache cc` over and over on a header that was just changed gives what the compiler gives."""
    shop = Shop(tmp_path / "tree", tmp_path / "cache")
    shop.root.mkdir()
    (shop.root / "a.c").write_text('#include "h.h"\nint h = H;\n')
    words = ["gcc", "-S", "-c", "a.c", "-o", "a.s"]
    launcher = [sys.executable, "-m", "vcache", "cc"]
    for number in range(12):
        (shop.root / "h.h").write_text(f"#define H 1{number:04}\n")
        for _ in range(2):
            (shop.root / "a.s").unlink(missing_ok=True)
            subprocess.run(
                [*launcher, *words], cwd=shop.root, env=shop.environ, check=True, capture_output=True
            )
            subprocess.run([*words[:-1], "right.s"], cwd=shop.root, check=True)
            assert (shop.root / "a.s").read_bytes() == (shop.root / "right.s").read_bytes()


@pytest.mark.parametrize("file", [NINJA, pytest.param(VCACHEFILE, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shift_s", [-30 * 365 * 24 * HOURS, -2 * HOURS, 2 * HOURS, 60 * 365 * 24 * HOURS])
def test_a_time_that_lies_hides_no_edit(tmp_path: Path, file: str, shift_s: int) -> None:
    """Inputs and outputs with times in the past or future, kept through an edit: every edit is seen."""
    shop = copying(tmp_path, file)
    source, out = shop.root / "in.txt", shop.root / "out"
    at_ns = time.time_ns() + shift_s * 1_000_000_000
    os.utime(source, ns=(at_ns, at_ns))
    shop.build()
    for text in ("1111", "2222"):
        source.write_text(text)
        os.utime(source, ns=(at_ns, at_ns))  # touch -d
        shop.build()
        assert out.read_text() == text
    kept = out.stat()
    out.write_text("3333")  # an output that somebody changed, with its time brought back
    os.utime(out, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    shop.build()
    assert out.read_text() == "2222"
    os.utime(out, ns=(at_ns, at_ns))
    os.utime(shop.root / file, ns=(at_ns, at_ns))
    shop.build()
    assert "nothing to do" in shop.build().text


def test_a_settled_tree_sees_edits_that_keep_all_times(tmp_path: Path) -> None:
    """In a tree that is known by signatures: edits of inputs and outputs with kept size and mtime are seen."""
    shop = Shop.make(tmp_path / "tree", tmp_path / "cache")
    shop.build()
    time.sleep(2.1)
    shop.build()
    shop.build()
    assert "nothing to do" in shop.run().text
    right = [expected(tmp_path, NINJA, number) for number in range(3)]
    for number in (1, 2, 0):
        for name, text in (("n.txt", f"{number}\n"), ("src/h.h", f"#define H {number}\n")):
            path = shop.root / name
            before = path.stat()
            with open(path, "r+") as file:
                file.write(text)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        shop.run().check()
        assert shop.made() == right[number]
    for name in ("gen/n.h", "table", "obj/a.o", "app", "pages/deep/copy"):
        path = shop.root / name
        before = path.stat()
        data = bytearray(path.read_bytes())
        data[-2] ^= 1
        with open(path, "r+b") as file:
            file.write(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        shop.run().check()
        assert shop.made() == right[0], name


def test_a_file_that_is_put_in_place_of_another_is_seen(tmp_path: Path) -> None:
    """`cp -p`, `mv` and a hard link of a file with the same size and mtime are edits."""
    shop = copying(tmp_path, NINJA)
    source = shop.root / "in.txt"
    shop.build()
    puts: tuple[Callable[[Path, Path], object], ...] = (shutil.copy2, os.replace, os.link)
    for number, put in enumerate(puts):
        other = shop.root / f"other{number}"
        other.write_text(f"{number:04}"[::-1])
        stat = source.stat()
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if put is os.link:
            source.unlink()
        put(other, source)
        shop.build()
        assert (shop.root / "out").read_text() == f"{number:04}"[::-1]


def test_an_edit_while_its_step_runs_is_not_kept(tmp_path: Path) -> None:
    """An input that changes while its step runs: nothing is kept under the old content, and the next run makes it."""
    shop = copying(tmp_path, NINJA)
    line = "cat $in > $out; printf 2222 > in.txt; touch -r $out in.txt"
    (shop.root / NINJA).write_text(f"rule copy\n  command = {line}\nbuild out: copy in.txt\n")
    shop.build()
    assert (shop.root / "out").read_text() == "0000"
    shop.build()
    assert (shop.root / "out").read_text() == "2222"
    (shop.root / "in.txt").write_text("0000")
    shop.clean()
    (shop.root / "out").unlink()
    shop.build()
    assert (shop.root / "out").read_text() == "0000"
