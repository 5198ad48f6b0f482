"""Real projects that a generator configures: built by ninja, and by vcache in the same place.

Paths are part of what is built, so the two are built one after the other in one directory, and what
ninja made and ran is remembered as data.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Project", "Ran", "Reference", "Tree", "program", "reference", "strike", "wait_for"]

Looks = dict[str, tuple[int, str]]
"""Mode, and digest or target, of each file and link below a build directory."""

# What a tool writes for itself: it differs from run to run, or names the tool.
_OWN = {
    ".vcache", ".ninja_log", ".ninja_deps", ".ninja_lock", ".ninja_output", "CMakeCache.txt",
    "CMakeConfigureLog.yaml", "__pycache__", "meson-logs", "meson-info", "meson-private", "CMakeScratch",
}  # fmt: skip


def program(name: str) -> str:
    """A tool of this environment."""
    path = os.path.join(sysconfig.get_path("scripts"), name)
    if not os.access(path, os.X_OK):
        path = shutil.which(name) or path
    assert os.access(path, os.X_OK), f"these tests need {name}: pip install --group builds"
    return path


@dataclass(frozen=True)
class Project:
    """A project of others, and how it is configured.

    Attributes:
        unpack: fills a directory with its sources.
        configure: the command for a source directory, a build directory, and what builds.
        header: one that some of its sources include, and after which line text may stand.
        recipe: the file that configures it.
    """

    unpack: Callable[[Path], None]
    configure: Callable[[Path, Path, str], list[str]]
    header: str
    anchor: str
    recipe: str


@dataclass(frozen=True)
class Ran:
    """What a run of vcache did: nodes by their first output."""

    ran: set[str] = field(default_factory=set)
    hits: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    said: str = ""


@dataclass(frozen=True)
class Tree:
    """A checkout with its build directory, and the cache it uses."""

    project: Project
    place: Path
    cache: Path

    @property
    def source(self) -> Path:
        return self.place / "src"

    @property
    def base(self) -> Path:
        return self.place / "build"

    @property
    def environ(self) -> dict[str, str]:
        ours = ("VCACHE_", "NINJA", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        # Meson puts ccache or sccache before a compiler that it finds by itself.
        chosen = {"CC": "gcc", "VCACHE_DIR": os.fspath(self.cache), "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
        return {**kept, **chosen}

    # -- sources -----------------------------------------------------------------------------------

    @property
    def pristine(self) -> Path:
        """The sources as they came, unpacked once for each cache."""
        return self.cache.parent / "pristine"

    def unpack(self) -> None:
        """Nothing but the sources."""
        if not self.pristine.exists():
            self.project.unpack(self.pristine)
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.pristine, self.source)

    def undo(self) -> None:
        """Take back every change of a source."""
        for old in self.pristine.rglob("*"):
            new = self.source / old.relative_to(self.pristine)
            if old.is_file() and not filecmp.cmp(old, new, shallow=False):
                shutil.copyfile(old, new)

    def insert(self, text: str, *, name: str = "", anchor: str = "") -> None:
        """Put text behind the anchor; by default into the project's header."""
        path = self.source / (name or self.project.header)
        anchor = anchor or self.project.anchor
        before = path.read_text()
        assert before.count(anchor) == 1, (path, anchor)
        path.write_text(before.replace(anchor, f"{anchor}{text}"))

    def touch_all(self) -> None:
        """Give every source and every built file a new time, in the order that they had."""
        for path in sorted(
            (p for p in self.place.rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns
        ):
            if ".vcache" not in path.parts:
                os.utime(path)

    # -- what is built --------------------------------------------------------------------------------

    def configure(self, maker: str) -> str:
        words = self.project.configure(self.source, self.base, program(maker))
        environ = {**self.environ, "NINJA": program(maker)}
        done = subprocess.run(
            words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
        (self.place / "maker").write_text(maker)
        return done.stdout

    @property
    def maker(self) -> str:
        """What the build directory is configured for; "" when there is none."""
        return (self.place / "maker").read_text() if (self.base / "build.ninja").exists() else ""

    def clean(self) -> None:
        """Remove all that was built, and all that was remembered of it."""
        shutil.rmtree(self.base, ignore_errors=True)

    def looks(self) -> Looks:
        return dict(_looks(self.base))

    def ninja(self, *words: str) -> set[str]:
        """Build by the real ninja; the outputs that it made anew."""
        log = self.base / ".ninja_log"
        before = len(log.read_text().splitlines()) if log.exists() else 0
        done = subprocess.run(
            [program("ninja"), "-d", "explain", *words], cwd=self.base, env=self.environ, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        rows = [line.split("\t") for line in log.read_text().splitlines()]
        return {row[3] for row in rows[before:] if len(row) > 3}

    def build(self, *words: str, status: int = 0, by: tuple[str, ...] = ()) -> Ran:
        """Build by vcache."""
        process = self.start(*words, by=by)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == status, (process.returncode, said)
        return self.since(said)

    def tell(self, command: str, *words: str) -> str:
        """What a command that only looks has to say."""
        return subprocess.check_output(
            [sys.executable, "-m", "vcache", command, "-C", os.fspath(self.base), *words],
            env=self.environ, cwd=self.place, text=True,
        )  # fmt: skip

    def verify(self) -> None:
        """Read the whole cache against its digests."""
        subprocess.run([sys.executable, "-m", "vcache", "verify"], env=self.environ, check=True)

    def start(self, *words: str, by: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """A build, in a process group of its own."""
        command = by or (sys.executable, "-m", "vcache", "build", "-C", os.fspath(self.base))
        self._seen.update(self.journals())
        return subprocess.Popen(
            [*command, *words], env={**self.environ, "NINJA": program("vcache-ninja")}, cwd=self.place, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def since(self, said: str = "") -> Ran:
        """What the runs did that were started since the last look."""
        ran = Ran(said=said)
        for path in self.journals() - self._seen:
            for line in path.read_text().splitlines():
                event = json.loads(line)
                if event["event"] == "finished":
                    (ran.failed if event["status"] else ran.ran).add(event["node"])
                elif event["event"] == "hit":
                    ran.hits.add(event["node"])
        return ran

    def journals(self) -> set[Path]:
        return set((self.base / ".vcache/runs").glob("*.jsonl"))

    @property
    def _seen(self) -> set[Path]:
        return _SEEN.setdefault(os.fspath(self.place), set())


_SEEN: dict[str, set[Path]] = {}


@dataclass(frozen=True)
class Reference:
    """What ninja did and made.

    Attributes:
        looks: after a full build.
        made: every output of it.
        commented, edited: what it made anew after a comment and after a change in the header.
        after: how all looks after both.
    """

    looks: Looks
    made: set[str]
    commented: set[str]
    edited: set[str]
    after: Looks


COMMENT = " /* a word */"  # in its line: __LINE__ stays what it was
CHANGE = '\n__attribute__((used)) static const char changed_[] = "changed";'


def reference(tree: Tree) -> Reference:
    """Build by ninja, and again after changes."""
    tree.unpack()
    tree.configure("ninja")
    made = tree.ninja()
    assert not tree.ninja()
    looks = tree.looks()
    tree.insert(COMMENT)
    commented = tree.ninja()
    tree.insert(CHANGE)
    edited = tree.ninja()
    return Reference(looks, made, commented, edited, tree.looks())


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until something has happened while a build runs."""
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the build ended too early"
        assert time.monotonic() < end
        time.sleep(0.01)


def strike(process: subprocess.Popen[str], signum: signal.Signals, *, all_of_it: bool = False) -> str:
    """Send a signal to a build (or to all it started), and hear its last words."""
    if all_of_it:
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)
    said, _ = process.communicate(timeout=60)
    return said


def _looks(base: Path) -> Iterator[tuple[str, tuple[int, str]]]:
    for directory, folders, names in os.walk(base):
        folders[:] = sorted(name for name in folders if name not in _OWN)
        for name in sorted(
            {*names, *(each for each in folders if os.path.islink(os.path.join(directory, each)))} - _OWN
        ):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            else:
                text = Path(path).read_bytes().replace(os.fsencode(program("vcache-ninja")), b"ninja")
                content = hashlib.sha256(text.replace(os.fsencode(program("ninja")), b"ninja")).hexdigest()
            yield os.path.relpath(path, base), (status.st_mode, content)
