"""Build files, depfiles and commands that nobody in his right mind writes: an answer in words, in bounded time."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.faults.workshop import NINJA, Built, Shop

DEEP: Final = 100_000

RULES: Final = """
rule touch
  command = cat /dev/null $in > $out
rule dep
  command = cp $in $out; {write}
  depfile = $out.d
  deps = gcc
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "in").write_text("in")
    return Shop(root, tmp_path / "cache")


def ninja(shop: Shop, text: str | bytes) -> None:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    (shop.root / NINJA).write_bytes(b"rule touch\n  command = cat /dev/null $in > $out\n" + raw)


def tried(shop: Shop, *words: str) -> Built:
    """A build by the real command, that must say its end in words."""
    return shop.run("build", *words, timeout_s=120).check_words()


# -- graphs -------------------------------------------------------------------------------------

CYCLES: Final = {
    "self": "build a: touch a\n",
    "two": "build a: touch b\nbuild b: touch a\n",
    "phony": "build a: phony b\nbuild b: phony a\n",
    "mixed": "build a: phony b\nbuild b: touch c\nbuild c: phony a\n",
    "order": "build a: touch || b\nbuild b: touch || a\n",
    "implicit": "build a: touch | b\nbuild b: touch | a\n",
    "outputs": "build a b: touch c\nbuild c: touch b\n",
    "dyndep": (
        "build a: touch in || dd\n  dyndep = dd\nbuild b: touch a\n"
        "rule dd\n  command = printf 'ninja_dyndep_version = 1\\nbuild a: dyndep | b\\n' > $out\nbuild dd: dd\n"
    ),
}


@pytest.mark.parametrize("name", CYCLES)
def test_a_cycle_is_named(shop: Shop, name: str) -> None:
    """A cycle through any kind of edge is an error that shows it; nothing hangs."""
    ninja(shop, CYCLES[name])
    for _ in range(2):
        built = tried(shop, "a" if name != "dyndep" else "b")
        assert built.status != 0, built.text
        assert "cycle" in built.text, built.text


def test_a_validation_may_close_a_circle(shop: Shop) -> None:
    """A validation that needs what it validates is no cycle."""
    ninja(shop, "build a: touch in |@ b\nbuild b: touch a\n")
    assert tried(shop, "a").check().text.count("[2/2]") == 1
    assert (shop.root / "b").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["touch", "phony", "order"])
def test_a_chain_may_be_very_deep(shop: Shop, kind: str) -> None:
    """100,000 steps behind one another are no recursion error, in a run and a dry run."""
    deep(shop, kind, DEEP)


@pytest.mark.parametrize("kind", ["touch", "phony", "order"])
def test_a_chain_may_be_deep(shop: Shop, kind: str) -> None:
    """The same with 4,000, more than the interpreter's stack takes."""
    deep(shop, kind, 4_000)


def deep(shop: Shop, kind: str, count: int) -> None:
    edge = {
        "touch": "build o{}: touch o{}",
        "phony": "build o{}: phony o{}",
        "order": "build o{}: touch || o{}",
    }
    lines = "\n".join(edge[kind].format(number + 1, number) for number in range(count))
    ninja(shop, f"build o0: touch in\n{lines}\nbuild bad: touch missing\n")
    top = f"o{count}"
    tried(shop, "-n", top).check()
    if kind == "phony":
        tried(shop, top).check()
        assert "nothing to do" in tried(shop, top).text
        (shop.root / "in").write_text("other")
        tried(shop, top).check()
    if count < DEEP:  # a picture of 100,000 nodes is nobody's question
        shop.attempt("graph", top, "-o", "g.dot").check()
    with open(shop.root / NINJA, "a") as file:
        file.write(f"build o0.x: touch {top}\n")
    assert tried(shop, "-n", "bad").status != 0


WRONG: Final = {
    "dot": "build .: touch in\n",
    "dots": "build ..: touch in\n",
    "source": "build in/x: touch in\n",
    "null": "build null: touch in\n",
    "state": "build .vcache: touch in\n",
    "lock": "build .vcache/tree: touch in\n",
    "long": f"build {'x' * 5000}: touch in\n",
    "deep": f"build {'x/' * 3000}y: touch in\n",
    "nul": "build a\0b: touch in\n",
    "empty": "build : touch in\n",
    "twice": "build a a: touch in\n",
    "makers": "build a: touch in\nbuild a: touch in\n",
    "rule": "build a: nothing in\n",
    "tab": "\tbuild a: touch in\n",
    "include": f"include {NINJA}\n",
    "subninja": f"subninja {NINJA}\n",
    "device": "build a: touch /dev/zero\n",
    "directory": "build a: touch /\n",
    "missing": "build a: touch nowhere\n",
    "variable": "x = $x\nbuild a: touch $x\n",
    "pool": "build a: touch in\n  pool = nothing\n",
    "depth": "pool p\n  depth = -1\nbuild a: touch in\n  pool = p\n",
    "version": "ninja_required_version = 99999\nbuild a: touch in\n",
    "rsp": "rule r\n  command = cat $rspfile\n  rspfile = /proc/x\n  rspfile_content = x\nbuild a: r\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_told_in_words(shop: Shop, name: str) -> None:
    """Paths and statements that cannot be: an exit code and words, and the tree stands."""
    ninja(shop, WRONG[name])
    os.mknod(shop.root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))  # the machine's own is not risked
    for _ in range(2):
        built = tried(shop)
        assert built.status in (0, 1, 2), built.text
    assert (shop.root / "in").read_text() == "in"
    assert (shop.root / NINJA).exists()
    assert (shop.root / "null").is_char_device()


def test_outputs_outside_of_the_root_are_made_and_not_kept(shop: Shop, tmp_path: Path) -> None:
    """`..`, an absolute path and a link that leads out: the command runs, nothing else writes there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    os.symlink(outside, shop.root / "way")
    (shop.root / NINJA).write_text(
        "rule three\n  command = for f in $out; do echo made > $$f; done\n"
        f"build ../outside/a {outside}/b way/c: three in\nbuild x: three {outside}/b\n"
    )
    shop.run().check()
    assert "nothing to do" in shop.run().check().text
    for name in "abc":
        (outside / name).unlink()
    shop.run().check()
    assert sorted(path.name for path in outside.iterdir()) == ["a", "b", "c", "precious"]
    assert (outside / "precious").read_text() == "mine"


NAMES: Final = (
    b"\xff\xfe", b"a'b", b'a"b', b"a$$b", b"a;b", b"a&b", b"-n", b"a\\b", b"\xc3\xa4", b"a\tb", b"*", b"a$ b",
    b"~", b"#x", b"%s", b"\x1b[31m", b"@root@", b"a$:b",
)  # fmt: skip


def test_odd_names_are_names(shop: Shop) -> None:
    """Names that are not UTF-8, or hold quotes, blanks and signs, are built, known again and restored."""
    lines = [b"build out/%s.o: odd in" % name for name in NAMES]
    (shop.root / NINJA).write_bytes(
        b"rule odd\n  command = cp in $out && cp in $out.d && printf 'x: in\\n' > $out.d\n"
        b"  depfile = $out.d\n  deps = gcc\n" + b"\n".join(lines) + b"\n"
    )
    ran = subprocess.run(["ninja"], cwd=shop.root, env=shop.environ, check=True, capture_output=True)
    assert b"[18/18]" in ran.stdout
    right = sorted(os.listdir(os.fsencode(shop.root / "out")))
    for words in (("clean",), ("build",), ("clean",)):
        shop.run(*words).check_words()
    assert "from the cache" in shop.run("build", "-v").check().text
    assert sorted(os.listdir(os.fsencode(shop.root / "out"))) == right
    assert "nothing to do" in shop.run().check().text
    for shown in (("history",), ("graph", "-o", "g.html"), ("compdb",), ("why", "out/#x.o")):
        shop.run(*shown).check_words()


# -- depfiles -----------------------------------------------------------------------------------

DEPFILES: Final[dict[str, tuple[Callable[[Path], bytes], bool]]] = {
    "itself": (lambda root: b"out: out in\n", True),
    "own": (lambda root: b"out: out.d in\n", True),
    "null": (lambda root: b"out: /dev/null in\n", False),
    "zero": (lambda root: b"out: /dev/zero in\n", False),
    "directory": (lambda root: b"out: dir / . ..\n", False),
    "missing": (lambda root: b"out: nowhere.h in\n", False),
    "line": (lambda root: b"out: in " + b"x" * (1 << 20) + b"\n", False),
    "many": (lambda root: b"out: " + b"in " * 300_000 + b"\n", True),
    "empty": (lambda root: b"", True),
    "garbage": (lambda root: bytes(range(256)) * 64, False),
    "rules": (lambda root: b"a: b\n" * 10_000 + b"out: in\n", False),
    "endless": (lambda root: b"out: in \\\n" * 50_000, False),
    "above": (lambda root: b"out: ../../../../../../../../../../etc/hostname in\n", True),
}


@pytest.mark.parametrize("name", DEPFILES)
def test_a_hostile_depfile_is_no_trouble(shop: Shop, name: str) -> None:
    """A depfile that names itself, devices, directories, nothing or a megabyte: words, and edits are seen."""
    content, is_good = DEPFILES[name]
    (shop.root / "dir").mkdir()
    (shop.root / "written").write_bytes(content(shop.root))
    (shop.root / NINJA).write_text(RULES.format(write="cp written $out.d") + "build out: dep in\n")
    built = tried(shop)
    assert built.status in (0, 1), built.text
    assert built.status == 0 or not is_good, built.text
    (shop.root / "in").write_text("edited")
    again = tried(shop)
    assert again.status == built.status, again.text
    if again.status == 0:
        assert (shop.root / "out").read_text() == "edited"
    if is_good:
        assert "nothing to do" in tried(shop).text


def test_a_hostile_depfile_of_a_fifo_does_not_hang(shop: Shop) -> None:
    """A depfile that is, or names, a FIFO is told in words."""
    os.mkfifo(shop.root / "pipe")
    (shop.root / NINJA).write_text(RULES.format(write="echo out: pipe in > $out.d") + "build out: dep in\n")
    tried(shop)
    (shop.root / NINJA).write_text(RULES.format(write="rm -f $out.d; mkfifo $out.d") + "build out: dep in\n")
    assert shop.run(timeout_s=20).check_words().status != 0


# -- commands -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_command_may_say_fifty_megabytes(shop: Shop) -> None:
    """50 MB on standard output are passed on, and again from the cache, whole."""
    line = "head -c 50000000 /dev/zero | tr '\\0' x; echo; touch $out"
    (shop.root / NINJA).write_text(f"rule loud\n  command = {line}\nbuild out: loud in\n")
    for _ in range(2):
        assert shop.run(timeout_s=120).check().out.count("x") >= 50_000_000
        (shop.root / "out").unlink()


OUTS: Final = {
    "fifo": "mkfifo $out",
    "socketless": "ln -s $out $out",
    "dangling": "ln -s nowhere $out",
    "directory": "mkdir $out && echo x > $out/x",
    "secret": "echo x > $out && chmod 000 $out",
    "hard": "ln in $out",
    "parent": "cd .. && rm -rf tree/out && echo x > tree/out",
}


@pytest.mark.parametrize("name", OUTS)
def test_an_odd_output_is_made_or_told(shop: Shop, name: str) -> None:
    """An output that is a FIFO, a loop, a directory or unreadable ends in words, and never in a hang."""
    (shop.root / NINJA).write_text(f"rule odd\n  command = {OUTS[name]}\nbuild out: odd in\n")
    for _ in range(2):
        built = shop.run(timeout_s=20).check_words()
        assert built.status in (0, 1), built.text
    assert (shop.root / "in").read_text() == "in"


def test_a_command_that_removes_what_it_stands_on_is_told(shop: Shop) -> None:
    """A step that removes `.vcache`, its own directory's contents or its inputs ends in words."""
    (shop.root / NINJA).write_text("rule rm\n  command = rm -rf .vcache in; echo > $out\nbuild out: rm in\n")
    tried(shop)
    (shop.root / "in").write_text("in")
    tried(shop)
    (shop.root / NINJA).write_text("rule rm\n  command = rm -rf ../tree; mkdir ../tree\nbuild out: rm\n")
    tried(shop)
