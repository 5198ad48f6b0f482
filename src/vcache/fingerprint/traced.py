"""Records which files a piece of Python code opens while it runs, through the interpreter's audit events.

One hook serves the process; it is installed by the first recording and costs a look into a
context variable where nothing is recorded. A recording belongs to its context: threads and
asyncio tasks that run at the same time do not mix, and `asyncio.to_thread` takes it along.

What audit events cannot show: `os.stat` and all that is built on it (`Path.exists`), files that C
libraries open by themselves, what other processes do, and the work of threads that the code
starts. As far as such a thing announces itself it is listed in `Recording.blind`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from vcache.errors import FingerprintError
from vcache.fingerprint.digests import signature
from vcache.fingerprint.inputs import Absent, File, Listing, Spec

if TYPE_CHECKING:
    from vcache.entry import Dep
    from vcache.fingerprint.observe import Observer

__all__ = ["Recording", "current", "paused", "record", "resumed"]

_SYSTEM: Final = ("/proc/", "/dev/", "/sys/")
_ACCESS: Final = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_IMPORTERS: Final = (
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
    "<frozen zipimport>",
    # Shows source lines in tracebacks and warnings. Not imported for its name: it brings tokenize.
    os.path.join(os.path.dirname(os.__file__), "linecache.py"),
)
_FRAMES_MAX: Final = 64


class Recording:
    """What the code has touched. Complete once its `with` block has ended.

    Attributes:
        blind: what ran out of sight, in words: "subprocess: gcc", "network", …
        unstable: paths that were read and then changed before the block ended, so that nobody
            knows which content the result comes from.
        written: paths that the code itself wrote, renamed or removed; never inputs.
    """

    __slots__ = (
        "_absent",
        "_adopted",
        "_ignored",
        "_listed",
        "_outer",
        "_read",
        "blind",
        "unstable",
        "written",
    )

    def __init__(self, *, ignore: tuple[str, ...] = (), outer: Recording | None = None) -> None:
        self._ignored = (*_SYSTEM, *ignore)
        self._outer = outer
        self._read: dict[str, bytes] = {}
        self._listed: dict[str, bytes] = {}
        self._absent: set[str] = set()
        self._adopted: dict[str, Spec] = {}
        self.blind: set[str] = set()
        self.unstable: set[str] = set()
        self.written: set[str] = set()

    def deps_specs(self) -> tuple[Spec, ...]:
        """What was read, listed, and looked for in vain, by absolute path, sorted within each kind.

        Then what was adopted.
        """
        return (
            *(File(path) for path in sorted(self._read.keys() - self.written)),
            *(Listing(path) for path in sorted(self._listed.keys() - self.written)),
            *(Absent(path) for path in sorted(self._absent)),
            *(self._adopted[shown] for shown in sorted(self._adopted)),
        )

    def deps(self, observer: Observer) -> tuple[Dep, ...]:
        """What was touched as dependencies. Whatever changed before it could be hashed joins `unstable`."""
        found: list[Dep] = []
        for spec in self.deps_specs():
            if isinstance(spec, File | Listing) and _signature(spec.path) is None:
                self.unstable.add(spec.path)
                continue
            try:
                found += observer.observe(spec)
            except FingerprintError as error:
                self.blind.add(str(error))  # such as a FIFO: the code could read it, nobody can identify it
        self._compare()
        return tuple(found)

    def adopt(self, spec: Spec) -> None:
        """Depend on something that the code used without opening it, such as an input of a remembered result."""
        if isinstance(spec, Absent) or (isinstance(spec, File) and spec.by == "content"):
            self.opened(spec.path, os.O_RDONLY)
        elif isinstance(spec, Listing):
            self.listed(spec.path)
        else:
            if self._outer is not None:
                self._outer.adopt(spec)
            self._adopted[repr(spec)] = spec

    def doubt(self, what: str) -> None:
        """Note that something the code used is not known well enough to depend on."""
        if self._outer is not None:
            self._outer.doubt(what)
        self.unstable.add(what)

    # Called by the hook.

    def opened(self, path: str, flags: int) -> None:
        """Note an open that is about to happen."""
        if self._skips(path):
            return
        if self._outer is not None:
            self._outer.opened(path, flags)
        if not (flags & _ACCESS or flags & (os.O_CREAT | os.O_TRUNC)):
            self._reads(path)
        elif (flags & _ACCESS) == os.O_RDWR and not flags & (os.O_TRUNC | os.O_EXCL):
            self._updates(path)
        else:
            self._writes(path)

    def changed(self, path: str) -> None:
        """Note a rename, a removal or another change of a name."""
        if self._skips(path):
            return
        if self._outer is not None:
            self._outer.changed(path)
        self._writes(path)

    def listed(self, path: str) -> None:
        """Note that the names in a directory are about to be read."""
        if self._skips(path):
            return
        if self._outer is not None:
            self._outer.listed(path)
        now = _signature(path)
        if now is None:
            self._absent.add(path)
        else:
            self._listed.setdefault(path, now)

    def hid(self, what: str) -> None:
        """Note something that happens out of sight."""
        if self._outer is not None:
            self._outer.hid(what)
        self.blind.add(what)

    def finish(self) -> None:
        """Settle what only the end can tell."""
        self._absent = {path for path in self._absent - self.written if _signature(path) is None}
        self._compare()

    def _reads(self, path: str) -> None:
        if path in self._read or path in self.written:
            return
        now = _signature(path)
        if now is None:
            # A SyntaxError of code from a string makes Python look for a file such as "<unknown>".
            if not (path.endswith(">") and "/<" in path):
                self._absent.add(path)
        elif path not in self._absent and not os.path.isdir(path):
            # What was absent first and exists later was made by the code or a child of it.
            self._read[path] = now

    def _updates(self, path: str) -> None:
        """A file opened for reading and writing: what it held before is an input that is lost."""
        if path not in self.written and _signature(path) is not None:
            self.unstable.add(path)
        self.written.add(path)

    def _writes(self, path: str) -> None:
        if path in self._read:
            self.unstable.add(path)
        self.written.add(path)

    def _skips(self, path: str) -> bool:
        return f"{path}/".startswith(self._ignored)

    def _compare(self) -> None:
        """Find inputs that are not what they were when they were first touched."""
        for path, before in self._read.items():
            if path not in self.written and _signature(path) != before:
                self.unstable.add(path)
        ours = {os.path.dirname(path) for path in self.written}
        for path, before in self._listed.items():
            if path not in ours and _signature(path) != before:
                self.unstable.add(path)


_recording: ContextVar[Recording | None] = ContextVar("vcache_recording", default=None)


def current() -> Recording | None:
    """The recording of this context, if there is one."""
    return _recording.get()


@contextmanager
def record(*, ignore: Iterable[str | os.PathLike[str]] = ()) -> Iterator[Recording]:
    """Record what the code of a `with` block opens.

    A recording within another one gives all it sees to the outer one too.

    Args:
        ignore: directories that are no input, such as the cache's own.
    """
    skip = tuple(
        os.path.join(face(path), "") for path in ignore for face in (os.path.abspath, os.path.realpath)
    )
    seen = Recording(ignore=skip, outer=_recording.get())
    if not _install():
        seen.hid("everything: another audit hook forbids ours")
    token = _recording.set(seen)
    try:
        yield seen
    finally:
        _recording.reset(token)
        seen.finish()


@contextmanager
def paused() -> Iterator[None]:
    """Record nothing within a `with` block: for the cache's own reading and hashing."""
    token = _recording.set(None)
    try:
        yield
    finally:
        _recording.reset(token)


@contextmanager
def resumed(recording: Recording) -> Iterator[None]:
    """Go on with a recording within `paused`: for the user's code that the cache calls."""
    token = _recording.set(recording)
    try:
        yield
    finally:
        _recording.reset(token)


def _signature(path: str) -> bytes | None:
    try:
        return signature(os.stat(path))
    except OSError:
        return None


def _path(given: object) -> str | None:
    """An audited path as an absolute one; None for a descriptor."""
    if given is None:
        return os.getcwd()
    if not isinstance(given, str | bytes | os.PathLike):
        return None
    path = os.path.join(os.getcwd(), os.fsdecode(given))
    if "/../" in path:  # behind a link, `..` is not where it looks
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return os.path.normpath(path)


def _is_import() -> bool:
    """Whether the import system is at work: what it reads is code, and fingerprinted as such.

    Told by the stack and not by suffix, since a step may read Python files as data. Module bodies
    run below the import system, but what they read is data: the search ends there.
    """
    frame = sys._getframe(3)  # the frame behind _is_import, its handler and the hook
    for _ in range(_FRAMES_MAX):
        if frame.f_code.co_filename in _IMPORTERS:
            return True
        if frame.f_code.co_name == "<module>" or frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def _on_open(seen: Recording, args: tuple[object, ...]) -> None:
    given, _, flags = args
    path = _path(given)
    if path is not None and isinstance(flags, int) and not _is_import():
        seen.opened(path, flags)


def _on_list(seen: Recording, args: tuple[object, ...]) -> None:
    path = _path(args[0])
    if path is None:
        seen.hid("directory listed through a descriptor")
    elif not _is_import():
        seen.listed(path)


def _on_change(seen: Recording, args: tuple[object, ...]) -> None:
    path = _path(args[0])
    if path is not None and not _is_import():
        seen.changed(path)


def _on_move(seen: Recording, args: tuple[object, ...]) -> None:
    _on_change(seen, args)
    path = _path(args[1])
    if path is not None and not _is_import():
        seen.changed(path)


def _on_link(seen: Recording, args: tuple[object, ...]) -> None:
    path = _path(args[1])
    if path is not None:
        seen.changed(path)


def _hides(what: str, argument: int | None = None) -> Callable[[Recording, tuple[object, ...]], None]:
    """A handler that notes what goes on out of sight, with one of the event's arguments."""

    def handler(seen: Recording, args: tuple[object, ...]) -> None:
        if argument is None:
            seen.hid(what)
            return
        subject = args[argument]
        seen.hid(f"{what}: {os.fsdecode(subject) if isinstance(subject, str | bytes) else subject}")

    return handler


_HANDLERS: Final[dict[str, Callable[[Recording, tuple[object, ...]], None]]] = {
    "open": _on_open,
    "os.listdir": _on_list,
    "os.scandir": _on_list,
    "os.remove": _on_change,
    "os.rmdir": _on_change,
    "os.mkdir": _on_change,
    "os.truncate": _on_change,
    "os.rename": _on_move,
    "os.link": _on_link,
    "os.symlink": _on_link,
    "subprocess.Popen": _hides("subprocess", 0),
    "os.system": _hides("subprocess", 0),
    "os.posix_spawn": _hides("subprocess", 0),
    "os.exec": _hides("subprocess", 0),
    "os.fork": _hides("fork"),
    "os.forkpty": _hides("fork"),
    "pty.spawn": _hides("subprocess", 0),
    "_thread.start_new_thread": _hides("thread"),
    "socket.connect": _hides("network"),
    "socket.getaddrinfo": _hides("network"),
    "sqlite3.connect": _hides("sqlite3", 0),
    "ctypes.dlopen": _hides("native library", 0),
}


def _hook(event: str, args: tuple[object, ...]) -> None:
    handler = _HANDLERS.get(event)
    if handler is None:
        return
    seen = _recording.get()
    if seen is None:
        return
    try:
        handler(seen, args)
    except Exception as error:  # an exception from a hook would abort what the user's code is doing
        seen.hid(f"{event}: {type(error).__name__} while it was recorded")


_installing: Final = threading.Lock()  # guards the installation: two hooks would do all work twice
_is_heard = False


def _install() -> bool:
    """Install the hook once; whether it hears events, since another hook can refuse it without a word."""
    global _is_heard
    if _is_heard:
        return True
    with _installing:
        if not _is_heard:
            sys.addaudithook(_hook)
            probe = Recording()
            token = _recording.set(probe)
            try:
                sys.audit("ctypes.dlopen", "vcache")
            finally:
                _recording.reset(token)
            _is_heard = bool(probe.blind)
    return _is_heard
