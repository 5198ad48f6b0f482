"""What a command looks at and writes, as the kernel sees it: strace's account, read.

Nothing of the command has to be prepared, and a static binary shows like any other; fanotify would
need root, LD_PRELOAD misses static programs and what is absent. It knows nothing of nodes, and
judges nothing.

Not seen: symbolic links that are read as such (they are followed, and tracing `readlink` doubles the
cost of a compile), what a program learns through a socket, and a name inside of another mount
namespace, which is taken for one outside. A daemon that the command leaves behind is waited for.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable
from typing import Final

from vcache.errors import UsageError
from vcache.kit.data import dataclass

__all__ = ["Traced", "read_trace", "tidied", "under_strace"]

_CREATES: Final = "creat mkdir mkdirat symlink symlinkat link linkat rename renameat renameat2"
_OTHERS: Final = "execve execveat truncate unlink unlinkat rmdir chdir fchdir getdents getdents64"
_LOOKS: Final = "stat lstat newfstatat statx access faccessat faccessat2"
_FORKS: Final = "clone clone3 fork vfork"
# "?": a name that this machine has no system call for is no error.
_CALLS: Final = ",".join(
    f"?{name}" for name in f"open openat openat2 {_CREATES} {_OTHERS} {_LOOKS} {_FORKS}".split()
)
_NOWHERE: Final = ("/proc", "/dev", "/sys")
_NOWHERE_BELOW: Final = ("/proc/", "/dev/", "/sys/")
_ABSENT: Final = ("ENOENT", "ENOTDIR")
_TELLING: Final = (None, *_ABSENT)  # of a call that failed otherwise nothing is learnt

_LINE: Final = re.compile(r"(\d+)\s+(.*)", re.DOTALL)
_SUPERSEDED: Final = re.compile(r"superseded by execve in pid (\d+)")
_RESUMED: Final = re.compile(r"<\.\.\. \w+ resumed>")
_CALL: Final = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+|\?)(<(?:[^<>]*)>(?:\(deleted\))?)?(?: (E\w+) \(.*\))?.*", re.DOTALL)  # fmt: skip
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?')
_AT: Final = re.compile(r"(AT_FDCWD|-?\d+)(?:<([^<>]*)>)?(?:\(deleted\))?")
_ESCAPE: Final = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_PLAIN: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}


@dataclass(frozen=True, slots=True)
class Traced:
    """What a command and all it started looked at and changed, by absolute paths.

    Attributes:
        opened: ("file", path) for what was read, run or found there, ("absent", path) for what was
            not there, ("list", path) for a directory whose names were read. Not what it made itself.
        wrote: what it made, changed, renamed or removed; not what it made and removed again.
        ran: the programs among `opened`.
        doubt: why this may not be all; "" when it is.
    """

    opened: tuple[tuple[str, str], ...] = ()
    wrote: tuple[str, ...] = ()
    ran: tuple[str, ...] = ()
    doubt: str = ""


def under_strace(argv: Collection[str], to: str) -> tuple[str, ...]:
    """The command line that runs another and writes down what it does.

    Raises:
        UsageError: there is no strace.
    """
    program = shutil.which("strace")
    if program is None:
        where = "install the package 'strace'" if sys.platform == "linux" else "it exists on Linux only"
        raise UsageError(f"tracing needs the program strace, which is not here: {where}")
    options = ("-f", "-q", "--seccomp-bpf", "-y", "-s", "0", "-e", f"trace={_CALLS}", "-o", to)
    return (program, *options, "--", *argv)


def read_trace(lines: Iterable[str], cwd: str) -> Traced:
    """What strace wrote down, in order.

    Args:
        lines: its file, read as ASCII.
        cwd: where the command ran.
    """
    reader = _Reader(cwd)
    for line in lines:
        reader.take(line.rstrip("\n"))
    return reader.result()


def tidied(traced: Traced, *, base: str = "/", outs: Collection[str] = ()) -> Traced:
    """The same by names as they are now: without its outputs and what is no input, with interpreters.

    A directory that was looked at and not listed says nothing, nor do Python's bytecode and the
    loader's index: what they stand for was looked at as well. The kernel reads the first line of a
    script itself.

    Args:
        base: names are given as this one is: the kernel names a directory without links.
        outs: what the command is there to make: paths, or prefixes that end with "/".
    """
    names = _Names(base)
    below = tuple(out for out in outs if out.endswith("/"))
    opened: dict[tuple[str, str], None] = {}
    for kind, path in (*traced.opened, *(("file", found) for found in _interpreters(traced.ran))):
        name = names.normal(path)
        if name in outs or name.startswith(below) or _is_no_input(name):
            continue
        if kind != "file" or os.path.isfile(name) or not os.path.lexists(name):
            opened[kind, name] = None
    wrote = dict.fromkeys(name for path in traced.wrote if not _is_no_input(name := names.normal(path)))
    return Traced(tuple(opened), tuple(wrote), traced.ran, traced.doubt)


class _Names:
    """Paths without "." and "..": a parent of a link is not the one before the slash."""

    def __init__(self, base: str) -> None:
        self._parents: dict[str, str] = {}
        # The topmost pair of directories that are one, by the names of the kernel and of the user.
        given, real = base, os.path.realpath(base)
        while given != real and os.path.basename(given) == os.path.basename(real):
            above = os.path.dirname(given), os.path.dirname(real)
            if above[0] == given or os.path.realpath(above[0]) != above[1]:
                break
            given, real = above
        self._given, self._real = given, real

    def normal(self, path: str) -> str:
        name = self._without_dots(path)
        if self._given != self._real and (name == self._real or name.startswith(f"{self._real}/")):
            return self._given + name[len(self._real) :]
        return name

    def _without_dots(self, path: str) -> str:
        if "/.." not in path:
            return os.path.normpath("/" + path.lstrip("/"))  # "//a" is a name of its own to POSIX
        directory, _, name = path.rpartition("/")
        if name in ("..", ".", ""):
            return os.path.realpath(path)
        if directory not in self._parents:
            self._parents[directory] = os.path.realpath(directory)
        return os.path.join(self._parents[directory], name)


class _Odd(Exception):
    """A line that is not understood."""


class _Reader:
    """The state that a trace is read with."""

    def __init__(self, cwd: str) -> None:
        self._first_cwd = cwd
        self._cwds: dict[str, str] = {}
        self._pending: dict[str, str] = {}  # process ▷ the beginning of a call that has not returned
        self._seen: dict[tuple[str, str], None] = {}
        self._made: dict[str, None] = {}  # what exists by its doing
        self._ever_made: set[str] = set()
        self._removed: dict[str, None] = {}
        self._ran: dict[str, None] = {}
        self._doubt = ""

    def result(self) -> Traced:
        opened = tuple(
            (kind, path) for kind, path in self._seen if kind != "absent" or path not in self._ever_made
        )
        return Traced(opened, (*self._made, *self._removed), tuple(self._ran), self._doubt)

    def take(self, line: str) -> None:
        match = _LINE.match(line)
        if match is None:
            self._doubt = self._doubt or f"strace said {line!r}"
            return
        pid, text = match.groups()
        if text.startswith(("---", "+++")):
            self._ended(pid, text)
            return
        if text.endswith("<unfinished ...>"):
            self._pending[pid] = text[: -len("<unfinished ...>")]
            self._cwd(pid)  # a child may be heard of before this call returns
            return
        if resumed := _RESUMED.match(text):
            text = self._pending.pop(pid, "") + text[resumed.end() :]
        try:
            self._call(pid, text)
        except _Odd:
            self._doubt = self._doubt or f"strace said {line!r}"

    def _call(self, pid: str, text: str) -> None:
        match = _CALL.fullmatch(text)
        if match is None:
            raise _Odd
        name, args, number, _, error = match.groups()
        if number != "?" and error in _TELLING and name in _HANDLERS:
            _HANDLERS[name](self, _Call(pid, name, args, number, error or ""))

    def _ended(self, pid: str, text: str) -> None:
        if superseded := _SUPERSEDED.search(text):  # a thread that runs a program becomes its process
            self._pending[pid] = self._pending.pop(superseded[1], "")
            self._cwds[pid] = self._cwds.pop(superseded[1], self._cwd(pid))
        elif text.startswith("+++"):  # its number may be given to another
            self._cwds.pop(pid, None)
            self._pending.pop(pid, None)

    # -- calls ---------------------------------------------------------------------------------

    def on_open(self, call: _Call) -> None:
        path = self._paths(call)[0]
        flags = "O_WRONLY|O_CREAT|O_TRUNC" if call.name == "creat" else call.args[call.args.rfind('"') + 1 :]
        if call.error:
            if "O_CREAT" not in flags:
                self._saw("absent", path)
        elif "O_TMPFILE" not in flags:
            is_new = "O_EXCL" in flags or ("O_CREAT" in flags and ("absent", path) in self._seen)
            if not is_new and "O_WRONLY" not in flags and "O_TRUNC" not in flags:
                self._saw("file", path)
            if "O_WRONLY" in flags or "O_RDWR" in flags:
                self._make(path)

    def on_look(self, call: _Call) -> None:
        path = self._paths(call)[0]
        if path:
            self._saw("absent" if call.error else "file", path)

    def on_run(self, call: _Call) -> None:
        self.on_look(call)
        if not call.error:
            self._ran[self._paths(call)[0]] = None

    def on_list(self, call: _Call) -> None:
        path = self._directory(call)
        if path not in self._made:
            self._seen["list", path] = None

    def on_make(self, call: _Call) -> None:
        if not call.error:
            self._make(self._paths(call)[-1])

    def on_link(self, call: _Call) -> None:
        if not call.error:
            old, new = self._paths(call)
            self._saw("file", old)
            self._make(new)

    def on_rename(self, call: _Call) -> None:
        if call.error:
            return
        old, new = self._paths(call)
        inside = [path for path in self._made if path.startswith(f"{old}/")]
        self._remove(old)
        for path in inside:
            del self._made[path]
        for path in (new, *(new + path[len(old) :] for path in inside)):
            self._make(path)

    def on_remove(self, call: _Call) -> None:
        if not call.error:
            self._remove(self._paths(call)[0])

    def on_chdir(self, call: _Call) -> None:
        if not call.error:
            self._cwds[call.pid] = self._paths(call)[0]

    def on_fchdir(self, call: _Call) -> None:
        if not call.error:
            self._cwds[call.pid] = self._directory(call)

    def on_fork(self, call: _Call) -> None:
        if not call.error:  # the child may have been heard of, and may have gone elsewhere
            self._cwds.setdefault(call.number, self._cwd(call.pid))

    # -- state ---------------------------------------------------------------------------------

    def _cwd(self, pid: str) -> str:
        """Where a process is. One that is heard of before its birth is the child of one that forks."""
        if pid not in self._cwds:
            parents = [
                other for other, text in self._pending.items() if text.partition("(")[0] in _FORKS.split()
            ]
            self._cwds[pid] = self._cwds.get(parents[-1], self._first_cwd) if parents else self._first_cwd
        return self._cwds[pid]

    def _saw(self, kind: str, path: str) -> None:
        if path not in self._made:
            self._seen.setdefault((kind, path))

    def _make(self, path: str) -> None:
        self._made[path] = None
        self._ever_made.add(path)
        self._removed.pop(path, None)

    def _remove(self, path: str) -> None:
        if path in self._made:
            del self._made[path]
        else:
            self._removed[path] = None

    def _directory(self, call: _Call) -> str:
        match = _AT.match(call.args)
        if match is None or match[2] is None:
            raise _Odd
        return _text(match[2])

    def _paths(self, call: _Call) -> list[str]:
        """The paths that a call names, absolute; "" for the very descriptor."""
        wanted, here = _HOW_MANY.get(call.name, 1), 0
        found: list[str] = []
        for match in _STRING.finditer(call.args):
            at = self._at(call, call.args[here : match.start()].lstrip(", "))
            here, name = match.end(), _text(match[1])
            found.append(os.path.join(at, name) if name else "")
            if match[2]:  # cut off
                raise _Odd
            if len(found) == wanted:
                return found
        raise _Odd

    def _at(self, call: _Call, before: str) -> str:
        """The directory that a name is relative to, by what stands before it."""
        match = _AT.match(before)
        if match is None:
            return self._cwd(call.pid)
        if match[2] is None:
            return self._cwd(call.pid) if match[1] == "AT_FDCWD" else ""
        directory = _text(match[2])
        if match[1] == "AT_FDCWD":
            self._cwds[call.pid] = directory
        return directory


@dataclass(frozen=True, slots=True)
class _Call:
    pid: str
    name: str
    args: str
    number: str
    error: str


_HOW_MANY: Final = dict.fromkeys("symlink symlinkat link linkat rename renameat renameat2".split(), 2)
_HANDLERS: Final[dict[str, Callable[[_Reader, _Call], None]]] = {
    **dict.fromkeys(("open", "openat", "openat2", "creat"), _Reader.on_open),
    **dict.fromkeys(_LOOKS.split(), _Reader.on_look),
    **dict.fromkeys(("execve", "execveat"), _Reader.on_run),
    **dict.fromkeys(("getdents", "getdents64"), _Reader.on_list),
    **dict.fromkeys(("mkdir", "mkdirat", "symlink", "symlinkat", "truncate"), _Reader.on_make),
    **dict.fromkeys(("link", "linkat"), _Reader.on_link),
    **dict.fromkeys(("rename", "renameat", "renameat2"), _Reader.on_rename),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), _Reader.on_remove),
    "chdir": _Reader.on_chdir,
    "fchdir": _Reader.on_fchdir,
    **dict.fromkeys(_FORKS.split(), _Reader.on_fork),
}


def _text(quoted: str) -> str:
    """What strace wrote between quotes, as Python names files."""
    if "\\" not in quoted:
        return quoted
    return os.fsdecode(_ESCAPE.sub(_unescaped, quoted.encode("ascii", "surrogateescape")))


def _unescaped(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes((int(code, 8),)) if code.isdigit() else _PLAIN.get(code, code)


def _is_no_input(path: str) -> bool:
    """What the kernel makes up, and what only tells again what was seen otherwise."""
    if path.startswith(_NOWHERE):
        return path in _NOWHERE or path.startswith(_NOWHERE_BELOW)
    # Every installed package changes the loader's index; the libraries it led to were opened. Python
    # holds its bytecode against the source, which it looks at.
    return path == "/etc/ld.so.cache" or "/__pycache__/" in path or path.endswith("/__pycache__")


def _interpreters(programs: Iterable[str]) -> list[str]:
    """What the kernel runs the scripts among them with."""
    found: list[str] = []
    for program in programs:
        try:
            with open(program, "rb") as file:
                first = file.readline(256)
        except OSError:
            continue
        words = first[2:].split(maxsplit=1)
        if first.startswith(b"#!") and words:
            found.append(os.fsdecode(words[0]))
    return found
