"""Looks at what a spec names, and looks again at what was recorded.

Turns specs into `Dep`s under portable names, and says whether a recorded `Dep` still holds. Knows
no cache: an entry's digest is asked of a callable. Kinds that cannot be looked at again by name
("value", "arg", "code", …) always hold here: they are part of a key instead.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NoReturn

from vcache.entry import Dep, make_key, split_key
from vcache.errors import FingerprintError
from vcache.fingerprint.digests import FileDigests, FileState, cannot_read, refuse_irregular, signature
from vcache.fingerprint.globs import Directories, split
from vcache.fingerprint.inputs import (
    Absent,
    Dir,
    Env,
    File,
    Glob,
    Listing,
    Ref,
    Spec,
    Tool,
    Value,
    together,
)
from vcache.fingerprint.places import Places
from vcache.fingerprint.tools import find_tool
from vcache.hash import digest
from vcache.kit.data import dataclass

__all__ = ["Observer", "Stale"]

_PRESENT: Final = b"\x01"
_PLACES_SHOWN: Final = 3
_MTIME: Final = struct.Struct("<Qq")
_COUNT: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Stale:
    """A recorded input that is no longer what it was, and how."""

    dep: Dep
    reason: str


class Observer:
    """Looks at inputs on behalf of one project.

    Args:
        root: names below it are stored relative to it.
        digests: where file digests come from.
        environ: the environment variables that `Env` and `Tool` see.
        entry_digest: the content digest of the entry with a canonical key, or None; for `Ref`.
        namespace: the namespace of the keys in `Ref`.
        base: where relative paths of specs start; None for the current directory at each call, so
            that a step which opens the same path reads the same file.

    Threads: any number.
    """

    __slots__ = ("_checks", "_digests", "_directories", "_entry_digest", "_environ", "_namespace", "_places")

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        digests: FileDigests,
        environ: Mapping[str, str] = os.environ,
        entry_digest: Callable[[bytes], bytes | None] | None = None,
        namespace: str = "",
        base: str | os.PathLike[str] | None = None,
    ) -> None:
        self._digests = digests
        self._directories = Directories(clock=digests.clock)
        self._places = Places(root, base=base)
        self._environ = environ
        self._entry_digest = entry_digest
        self._namespace = namespace
        self._checks: dict[str, Callable[[Dep], str | None]] = {
            "file": self._check_file,
            "mtime": self._check_mtime,
            "glob": self._check_names,
            "glob-all": self._check_names,
            "dir": self._check_names,
            "list": self._check_names,
            "env": self._check_env,
            "tool": self._check_tool,
            "entry": self._check_entry,
            "absent": self._check_absent,
        }

    def observe(self, spec: Spec | str | os.PathLike[str]) -> tuple[Dep, ...]:
        """What a spec stands for now; a plain path is a `File`.

        A `Glob` or `Dir` gives one dependency for the names and one for each file, so that a
        change can be laid at the door of the file that changed.

        Raises:
            FingerprintError: a file, directory, tool or entry that does not exist, or something
                that cannot be read or identified. The message names it and the remedy.
        """
        match spec:
            case File():
                return (self._file(spec) if spec.by == "content" else self._mtime(spec),)
            case Glob():
                kind = "glob-all" if spec.hidden else "glob"
                return self._matches(kind, self._places.place_pattern(spec.pattern), spec)
            case Dir():
                return self._matches("dir", self._places.place(spec.path)[1], spec)
            case Listing():
                return (self._names("list", self._places.place(spec.path)[1], spec),)
            case Env():
                return (self._env(spec.name),)
            case Tool():
                return (self._tool(spec),)
            case Value():
                return (_value(spec),)
            case Ref():
                return (self._entry(spec),)
            case Absent():
                return (self._absent(self._places.place(spec.path)[1]),)
            case _:
                return (self._file(File(spec)),)

    def observe_all(
        self, specs: Iterable[Spec | str | os.PathLike[str]] | Spec | str | os.PathLike[str]
    ) -> tuple[Dep, ...]:
        """What all specs stand for now, in their order; or what a single one does."""
        return tuple(dep for spec in together(specs) for dep in self.observe(spec))

    def check(self, dep: Dep) -> Stale | None:
        """How a recorded input differs from what is there now; None when it still holds.

        A file costs one stat while its signature stands. Never raises for what it finds: an input
        that cannot be looked at does not hold.
        """
        look = self._checks.get(dep.kind)
        if look is None:
            return None
        try:
            reason = look(dep)
        except FingerprintError as error:
            reason = str(error)
        return None if reason is None else Stale(dep, reason)

    def first_stale(self, deps: Iterable[Dep]) -> Stale | None:
        """The first recorded input that does not hold, or None when all do."""
        for dep in deps:
            stale = self.check(dep)
            if stale is not None:
                return stale
        return None

    # Files.

    def _file(self, spec: File) -> Dep:
        full, name = self._places.place(spec.path)
        state = self._digests.look(full)
        if state is None:
            _refuse_missing(spec, full)
        return _file_dep(name, state)

    def _check_file(self, dep: Dep) -> str | None:
        full = self._places.full(dep.name)
        if dep.hint:
            try:
                if signature(os.stat(full)) == dep.hint:
                    return None
            except OSError:
                pass  # looked at closely below, where each case has its words
        state = self._digests.look(full)
        if state is None:
            return "is gone"
        return None if state.digest == dep.identity else "changed"

    def _mtime(self, spec: File) -> Dep:
        full, name = self._places.place(spec.path)
        identity = _stamp(full)
        if not identity:
            _refuse_missing(spec, full)
        return Dep("mtime", name, identity)

    def _check_mtime(self, dep: Dep) -> str | None:
        identity = _stamp(self._places.full(dep.name))
        if identity == dep.identity:
            return None
        return "has another size or modification time" if identity else "is gone"

    def _absent(self, name: str) -> Dep:
        return Dep("absent", name, b"" if _stat(self._places.full(name)) is None else _PRESENT)

    def _check_absent(self, dep: Dep) -> str | None:
        if self._absent(dep.name).identity == dep.identity:
            return None
        return "is gone" if dep.identity else "was absent and exists"

    # Names in directories.

    def _matches(self, kind: str, name: str, spec: Glob | Dir) -> tuple[Dep, ...]:
        found = self._find(kind, name)
        if found is None:
            _refuse_missing(spec, self._places.full(name))
        deps = [self._names_dep(kind, name, found)]
        for full in found:
            state = self._digests.look(full)
            if state is not None:  # removed since the directory was read: the names will not hold
                deps.append(_file_dep(self._places.name(full), state))
        return tuple(deps)

    def _names(self, kind: str, name: str, spec: Listing) -> Dep:
        found = self._find(kind, name)
        if found is None:
            _refuse_missing(spec, self._places.full(name))
        return self._names_dep(kind, name, found)

    def _check_names(self, dep: Dep) -> str | None:
        found = self._find(dep.kind, dep.name)
        if found is None:
            return "is gone"
        fresh = self._names_dep(dep.kind, dep.name, found)
        if fresh.identity == dep.identity:
            return None
        return f"names other files than before ({dep.note or 'then'}; {fresh.note} found)"

    def _find(self, kind: str, name: str) -> list[str] | None:
        """What a kind of pattern finds: absolute paths, or plain names for a listing."""
        if kind == "list":
            names = self._directories.names(self._places.full(name))
            return None if names is None else list(names)
        if kind == "dir":
            start = self._places.full(name)
            return self._directories.match(start, ("**",), hidden=True) if os.path.isdir(start) else None
        start, parts = split(name)
        return self._directories.match(self._places.full(start), parts, hidden=kind == "glob-all")

    def _names_dep(self, kind: str, name: str, found: list[str]) -> Dep:
        names = sorted(path if kind == "list" else self._places.name(path) for path in found)
        packed = (os.fsencode(one) for one in names)
        identity = digest(b"".join(_COUNT.pack(len(one)) + one for one in packed))
        return Dep(kind, name, identity, note=f"{len(names)} name{'s' * (len(names) != 1)}")

    # Everything else.

    def _env(self, name: str) -> Dep:
        value = self._environ.get(name)
        if value is None:
            return Dep("env", name, b"", note="unset")
        return Dep("env", name, digest(os.fsencode(value)), note="set" if value else "empty")

    def _check_env(self, dep: Dep) -> str | None:
        fresh = self._env(dep.name)
        if fresh.identity == dep.identity:
            return None
        if not (fresh.identity and dep.identity):
            return "is unset" if dep.identity else "was unset and is set"
        return "changed"

    def _tool(self, spec: Tool) -> Dep:
        name = spec.name
        if "/" in name:
            name = self._places.place(name)[1]
            name = name if "/" in name else f"./{name}"  # a plain name would be searched in PATH
        found = self._find_tool(name)
        state = None if found is None else self._digests.look(found[0])
        if found is None or state is None:
            places = self._environ.get("PATH", os.defpath).split(os.pathsep)
            more = (
                f" and {len(places) - _PLACES_SHOWN} more directories" if len(places) > _PLACES_SHOWN else ""
            )
            searched = f"in PATH={os.pathsep.join(places[:_PLACES_SHOWN])}{more}"
            where = f"at {self._places.full(name)}" if "/" in name else searched
            raise FingerprintError(f"{spec!r}: no such executable {where}: install it, or name its path")
        note = os.fsencode(os.path.realpath(found[0])).decode("utf-8", "replace")
        return Dep("tool", name, state.digest, state.hint, note)

    def _find_tool(self, name: str) -> tuple[str, os.stat_result] | None:
        return find_tool(self._places.full(name) if "/" in name else name, self._environ)

    def _check_tool(self, dep: Dep) -> str | None:
        found = self._find_tool(dep.name)
        if found is None:
            return "is no longer found"
        path, st = found
        if dep.hint and signature(st) == dep.hint:
            return None
        state = self._digests.look(path)
        return None if state is not None and state.digest == dep.identity else f"changed ({path})"

    def _entry(self, spec: Ref) -> Dep:
        key = make_key(spec.key, namespace=self._namespace)
        found = self._digest_of(key)
        if found is None:
            raise FingerprintError(f"{spec!r}: no such entry in the cache: make it first")
        return Dep("entry", key.decode("utf-8", "surrogateescape"), found, note=repr(spec.key))

    def _check_entry(self, dep: Dep) -> str | None:
        found = self._digest_of(dep.name.encode("utf-8", "surrogateescape"))
        if found == dep.identity:
            return None
        return "changed" if found else "is not in the cache"

    def _digest_of(self, key: bytes) -> bytes | None:
        if self._entry_digest is None:
            raise FingerprintError(
                f"Ref to {split_key(key)[1]!r}: entries cannot be looked at outside a cache"
            )
        return self._entry_digest(key)


def _file_dep(name: str, state: FileState) -> Dep:
    return Dep("file", name, state.digest, state.hint, "" if state.is_stable else "changed while it was read")


def _value(spec: Value) -> Dep:
    # Loaded here: 0.7 ms with its tables of types, which files and variables do not need.
    from vcache.fingerprint.arguments import identity

    return Dep("value", spec.name, identity(spec.value, where=f"Value({spec.name!r})"))


def _stamp(full: str) -> bytes:
    """Size and mtime of a file, packed; empty when there is none."""
    st = _stat(full)
    if st is None:
        return b""
    refuse_irregular(full, st)
    return _MTIME.pack(st.st_size, st.st_mtime_ns)


def _stat(full: str) -> os.stat_result | None:
    try:
        return os.stat(full)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise cannot_read(full, error) from error


def _refuse_missing(spec: Spec, full: str) -> NoReturn:
    remedy = "make it first"
    if isinstance(spec, File):
        remedy += f", or depend on its absence with Absent({spec.path!r})"
    raise FingerprintError(f"{spec!r} does not exist (looked at {full}): {remedy}")
