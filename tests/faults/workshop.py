"""A small C project in two dialects, built by the real command in processes that may be killed at any point."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["NINJA", "VCACHEFILE", "Built", "Shop", "at_event", "in_fork", "wait_for"]

NINJA: Final = "build.ninja"
VCACHEFILE: Final = "vcachefile.py"
MARK: Final = "FAULTS_SHOP"
"""A variable by which the processes of a workshop are known, whoever started them."""

# Written in two goes, so that a kill can fall between them.
_HEADER: Final = "printf '#define N ' > $out && sleep 0.01 && cat $in >> $out"
_TABLE: Final = "for i in 1 2 3; do cat $in >> $out; sleep 0.004; done"

_FILES: Final = {
    NINJA: f"""
rule header
  command = {_HEADER}
rule table
  command = {_TABLE}
rule cc
  command = gcc -O0 -Igen -MMD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
rule link
  command = gcc -o $out $in
rule index
  command = mkdir -p pages/deep && cat $in > pages/index && sleep 0.01 && cp $in pages/deep/copy
build gen/n.h: header n.txt
build table: table n.txt
build obj/a.o: cc src/a.c || gen/n.h
build obj/b.o: cc src/b.c
build app: link obj/a.o obj/b.o
build pages/index pages/deep/copy: index table
build all: phony app table pages/index pages/deep/copy
default all
""",
    VCACHEFILE: """
from vcache.dag import File, build, cmd, sh

@build.step(outs=["gen/n.h"])
def header(src: File):
    return sh("printf '#define N ' > gen/n.h && sleep 0.01 && cat n.txt >> gen/n.h")

@build.step(outs=["table"])
def table(src: File):
    return sh("for i in 1 2 3; do cat n.txt >> table; sleep 0.004; done")

@build.step(outs=["obj/{stem}.o"], depfile="obj/{stem}.d", after=[header(File("n.txt"))])
def compile_c(src: File, stem: str):
    return cmd("gcc", "-O0", "-Igen", "-MMD", "-MF", build.depfile, "-c", src, "-o", build.out(0))

@build.step(outs=["app"])
def app(a: File, b: File):
    return cmd("gcc", "-o", build.out(0), a, b)

@build.step(outs=["pages/"])
def pages(text: File):
    return sh("mkdir -p pages/deep && cat table > pages/index && sleep 0.01 && cp table pages/deep/copy")

objs = [compile_c(src, stem=src.stem) for src in build.glob("src/*.c")]
build.default(app(*objs), pages(table(File("n.txt"))))
""",
    "n.txt": "0\n",
    "src/h.h": "#define H 0\n",
    "src/a.c": (
        '#include <stdio.h>\n#include "n.h"\n#include "h.h"\nint b(void);\n'
        'int main(void) { printf("%d %d %d\\n", N, H, b()); return 0; }\n'
    ),
    "src/b.c": '#include "h.h"\nint b(void) { return H * 2; }\n',
}
_MADE: Final = ("gen", "table", "obj", "app", "pages")


@dataclass(frozen=True)
class Built:
    """How a build ended."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    def check(self) -> Built:
        """Itself, if it ended well and without a traceback."""
        assert self.status == 0, self.text
        return self.check_words()

    def check_words(self) -> Built:
        """Itself, if it says what is wrong in words."""
        assert "Traceback" not in self.text, self.text
        return self


@dataclass(frozen=True)
class Shop:
    """One checkout of the project.

    Attributes:
        root: the checkout.
        cache: the cache's directory.
        file: which of the two build files.
        more: further variables.
    """

    root: Path
    cache: Path
    file: str = NINJA
    more: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, root: Path, cache: Path, file: str = NINJA) -> Shop:
        """A new checkout."""
        for name, text in _FILES.items():
            if name in (NINJA, VCACHEFILE) and name != file:
                continue
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return cls(root, cache, file)

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
        for name in ("CI", "MAKEFLAGS", "FORCE_COLOR", "XDG_CONFIG_HOME"):
            kept.pop(name, None)
        mine = {"VCACHE_DIR": str(self.cache), "HOME": str(self.root), "PATH": _path(), MARK: str(self.root)}
        return {**kept, **mine, **self.more}

    @property
    def state(self) -> Path:
        """What vcache remembers of the tree."""
        return self.root / ".vcache"

    def turn(self, number: int) -> None:
        """Give the sources the content of a number: everything that is made depends on it."""
        (self.root / "n.txt").write_text(f"{number}\n")
        (self.root / "src/h.h").write_text(f"#define H {number}\n")

    def says(self) -> str:
        """What the program says; `number number number * 2` when all is right."""
        return subprocess.run([self.root / "app"], capture_output=True, text=True, check=True).stdout

    def made(self) -> dict[str, tuple[int, bytes]]:
        """Everything that is made: permission bits and bytes by name."""
        found: dict[str, tuple[int, bytes]] = {}
        for top in _MADE:
            path = self.root / top
            for each in [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]:
                if each.is_dir():
                    found[f"{each.relative_to(self.root)}/"] = 0, b""
                elif each.exists() and each.suffix != ".d":
                    found[str(each.relative_to(self.root))] = each.stat().st_mode & 0o777, each.read_bytes()
        return found

    def start(self, *words: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """The real command, in a session of its own."""
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "vcache", *(words or ("build",))],
            cwd=self.root, env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, *words: str, prefix: tuple[str, ...] = (), timeout_s: float = 60) -> Built:
        """The real command until its end."""
        return self.finish(self.start(*words, prefix=prefix), timeout_s=timeout_s)

    def finish(self, child: subprocess.Popen[bytes], *, timeout_s: float = 60) -> Built:
        try:
            out, err = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate()
            words = (out + err).decode(errors="replace")
            raise AssertionError(f"it did not end within {timeout_s} s: {words}") from None
        return Built(child.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def build(self, *words: str) -> Built:
        """`vcache build` in a fork, which spares the start of an interpreter; it must end well."""
        return self.attempt("build", *words).check()

    def attempt(self, *words: str, before: Callable[[], object] = lambda: None) -> Built:
        """The command in a fork of this process.

        Args:
            before: called in the fork, before all else.
        """
        return in_fork(self, words, before)

    def processes(self) -> list[int]:
        """The living processes that the workshop's builds started."""
        wanted = f"{MARK}={self.root}".encode()
        found = []
        for name in os.listdir("/proc"):
            if not name.isdecimal() or int(name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                environ = Path("/proc", name, "environ").read_bytes().split(b"\0")
                state = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[0]
                if wanted in environ and state != "Z":
                    found.append(int(name))
        return found

    def wait_for_silence(self, timeout_s: float = 5) -> None:
        """Wait until none of its processes is left.

        Raises:
            AssertionError: one goes on.
        """
        wait_for(lambda: not self.processes(), f"processes of {self.root} go on", timeout_s)

    def clean(self) -> None:
        """Remove what was made, and what is remembered of it."""
        for name in (*_MADE, ".vcache"):
            path = self.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def expected(directory: Path, file: str, number: int) -> dict[str, tuple[int, bytes]]:
    """What a clean build of a number makes, without any cache; by ninja, where it can read the file."""
    root = directory / f"clean-{file}-{number}"
    shutil.rmtree(root, ignore_errors=True)
    shop = Shop.make(root, directory / "none", file)
    shop.turn(number)
    if file == NINJA:
        subprocess.run(["ninja"], cwd=shop.root, env=shop.environ, check=True, capture_output=True)
    else:
        shop.build("--no-cache")
    assert shop.says() == f"{number} {number} {2 * number}\n"
    return shop.made()


def in_fork(shop: Shop, words: tuple[str, ...], before: Callable[[], object]) -> Built:
    """A command in a fork; see `Shop.attempt`."""
    # Files, which do not wait for children that outlive the command.
    streams = [os.memfd_create(name) for name in ("out", "err")]
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become(shop, words, before, streams)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Built(status, *map(_all_of, streams))


def _become(shop: Shop, words: tuple[str, ...], before: Callable[[], object], streams: list[int]) -> None:
    status = 70
    try:
        for number, fd in enumerate(streams, start=1):
            os.dup2(fd, number)
            os.close(fd)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
        os.chdir(shop.root)
        environ = shop.environ
        os.environ.clear()
        os.environ.update(environ)
        sys.argv = ["vcache", *words]
        import logging

        logging.getLogger("vcache").handlers.clear()
        from vcache.cli import main

        before()
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _all_of(fd: int) -> str:
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read().decode(errors="replace")


def at_event(number: int, act: Callable[[], object], *, below: tuple[Path, ...]) -> Callable[[], object]:
    """What does something at the so-manieth file operation in some directories, once.

    Operations are those that Python audits: open, rename, remove, mkdir, link, truncate. To be called
    in a process that ends soon: a hook stays.
    """
    tops = tuple(os.fspath(path) for path in below)

    def install() -> None:
        left = number

        def hook(event: str, args: tuple[object, ...]) -> None:
            nonlocal left
            if not (event == "open" or event.startswith("os.")) or not args:
                return
            path = args[0]
            if isinstance(path, bytes):
                path = os.fsdecode(path)
            if not isinstance(path, str) or not os.path.abspath(path).startswith(tops):
                return
            left -= 1
            if left == 0:
                act()

        sys.addaudithook(hook)

    return install


def wait_for(condition: Callable[[], object], words: str, timeout_s: float = 10) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: it does not in time.
    """
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, words
        time.sleep(0.005)


def _path() -> str:
    """The interpreter's own programs first: ninja among them."""
    return os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))


@contextlib.contextmanager
def held(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """A process, with its group, that is ended however the block ends."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
