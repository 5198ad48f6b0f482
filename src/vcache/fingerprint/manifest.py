"""A manifest: all inputs of one thing, in one order, walked by everyone who asks about them.

The fingerprint and the description come from the same walk, so that no input can count without
being explained, nor be explained without counting. Pure data: it looks at no file.

What is hashed: `MAGIC`, the number of inputs, then for each, sorted by (kind, name, identity):
kind, name, identity, each behind its length. All numbers are unsigned 32-bit little-endian, all
text is UTF-8 with surrogates passed through, so that every name has exactly one form.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final, Literal, Protocol, TypeAlias

from vcache.entry import Dep, split_key
from vcache.errors import DecodeError, UsageError
from vcache.hash import digest
from vcache.kit.data import NamedTuple, dataclass, field

__all__ = ["Change", "Line", "Manifest", "Row", "Shared", "Sink", "row", "title"]

MAGIC: Final = b"vcache-inputs\x01"
STORED: Final = b"vcache-recipe\x01"
MAX_STORED_BYTES: Final = 64 << 20
_U32: Final = struct.Struct("<I")
_FIELDS: Final = 5
_DIGEST_BYTES: Final = 32
_TEXT_CHARS: Final = 40
# Getters of C: a build sorts some 40 inputs a node, and a function a piece would take three times as long.
_counting: Final = attrgetter("kind", "name", "identity")
_everything: Final = attrgetter("kind", "name", "identity", "hint", "note")
_LITERAL: Final = b"\x01"  # what `terms.seal` puts before a value that is short enough to stand for itself


Row: TypeAlias = tuple[str, str, bytes, bytes, *tuple[object, ...]]
"""Kind, name, identity, then all of it as it is hashed; behind that only what orders equal ones."""


class Sink(Protocol):
    """Something that a walk goes into: first the number of inputs, then each one."""

    def start(self, count: int) -> None: ...

    def dep(self, dep: Dep) -> None: ...


class Line(NamedTuple):
    """One input in words: the identity shortened, the note as it was.

    The identity is empty where the note says all of it.
    """

    kind: str
    name: str
    identity: str
    note: str

    def __str__(self) -> str:
        if not self.identity:
            return f"{self.kind:8} {self.name}  {self.note}"
        note = f"  ({self.note})" if self.note else ""
        return f"{self.kind:8} {self.name}  {self.identity}{note}"


class Change(NamedTuple):
    """One input that differs between two manifests. `old` or `new` is None where there was none."""

    what: Literal["added", "removed", "changed"]
    kind: str
    name: str
    old: Dep | None
    new: Dep | None

    def __str__(self) -> str:
        notes = [dep.note for dep in (self.old, self.new) if dep is not None and dep.note]
        tail = f" ({' → '.join(dict.fromkeys(notes))})" if notes else ""
        return f"{self.kind} {title(self.kind, self.name)}: {self.what}{tail}"


class Shared:
    """Inputs that many manifests have in common, ordered and packed once."""

    __slots__ = ("deps", "rows")

    def __init__(self, deps: Iterable[Dep]) -> None:
        self.deps = _canonical(deps)
        self.rows = [_ordering(dep, -number) for number, dep in enumerate(self.deps, 1)]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Inputs in canonical order, each once. Any order given makes the same manifest.

    Args:
        shared: more inputs, which other manifests have as well.

    Attributes:
        rows: the inputs as they are hashed, for one with shared inputs; else nothing.
    """

    deps: tuple[Dep, ...]
    rows: Sequence[Row] = field(compare=False, repr=False)

    def __init__(self, deps: Iterable[Dep] = (), *, shared: Shared | None = None) -> None:
        rows: Sequence[Row] = ()
        if shared is not None:
            # Sorting takes long what is in order already: the many shared ones come first.
            rows = sorted(shared.rows + [_ordering(dep, number) for number, dep in enumerate(deps)])
            deps = [each[-1] for each in rows]  # type: ignore[misc]  # `_ordering` puts a Dep there
            if len({each[3] for each in rows}) != len(rows):
                rows = ()  # one of them twice, which is for the full way
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "deps", tuple(deps) if rows else _canonical(deps))

    def __len__(self) -> int:
        return len(self.deps)

    def __iter__(self) -> Iterator[Dep]:
        return iter(self.deps)

    def walk(self, sink: Sink) -> None:
        """Lead every input past a sink, in canonical order."""
        sink.start(len(self.deps))
        for dep in self.deps:
            sink.dep(dep)

    def fingerprint(self) -> bytes:
        """The 32-byte BLAKE3 of all kinds, names and identities."""
        if self.rows:
            return digest(b"".join((MAGIC, _U32.pack(len(self.rows)), *[each[3] for each in self.rows])))
        sink = _HashSink()
        self.walk(sink)
        return digest(b"".join(sink.parts))

    def describe(self) -> list[Line]:
        """All inputs in words, in the order in which they are hashed."""
        sink = _WordSink()
        self.walk(sink)
        return sink.lines

    def diff(self, newer: Manifest) -> tuple[Change, ...]:
        """What is different in a newer manifest, sorted by kind and name."""
        mine, theirs = _by_name(self.deps), _by_name(newer.deps)
        changes = []
        for kind, name in sorted(mine.keys() | theirs.keys()):
            old, new = mine.get((kind, name), ()), theirs.get((kind, name), ())
            if old == new:
                continue
            what: Literal["added", "removed", "changed"] = (
                "added" if not old else "removed" if not new else "changed"
            )
            changes.append(Change(what, kind, name, old[0] if old else None, new[0] if new else None))
        return tuple(changes)

    def nearest(self, candidates: Iterable[Manifest]) -> Manifest | None:
        """The candidate with the fewest differences, the first of equals; None without any."""
        return min(candidates, key=lambda other: len(self.diff(other)), default=None)

    def to_bytes(self) -> bytes:
        """Everything, also hints and notes, as bytes that `from_bytes` takes.

        Raises:
            UsageError: more than `MAX_STORED_BYTES`.
        """
        parts = [STORED, _U32.pack(len(self.deps))]
        for dep in self.deps:
            for part in (_text(dep.kind), _text(dep.name), dep.identity, dep.hint, _text(dep.note)):
                parts += _U32.pack(len(part)), part
        data = b"".join(parts)
        if len(data) > MAX_STORED_BYTES:
            raise UsageError(
                f"a manifest of {len(self.deps)} inputs takes {len(data)} bytes (at most {MAX_STORED_BYTES})"
            )
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """The manifest that `to_bytes` wrote.

        Raises:
            DecodeError: anything but the exact bytes of a manifest.
        """
        if len(data) > MAX_STORED_BYTES:
            raise DecodeError(f"a manifest of {len(data)} bytes is too long (at most {MAX_STORED_BYTES})")
        if not data.startswith(STORED):
            raise DecodeError(f"not a manifest of version 1: {data[:16]!r}")
        fields = _fields(data, len(STORED))
        try:
            deps = tuple(
                Dep(_string(kind), _string(name), identity, hint, _string(note))
                for kind, name, identity, hint, note in zip(*[iter(fields)] * _FIELDS, strict=True)
            )
        except ValueError as error:
            raise DecodeError(f"a manifest holds text that is not UTF-8: {error}") from None
        manifest = cls(deps)
        if manifest.deps != deps:
            raise DecodeError("a manifest's inputs are not in canonical order")
        return manifest


class _HashSink:
    """Collects what counts."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[bytes] = [MAGIC]

    def start(self, count: int) -> None:
        self.parts.append(_U32.pack(count))

    def dep(self, dep: Dep) -> None:
        kind, name = _text(dep.kind), _text(dep.name)
        pack = _U32.pack
        self.parts += pack(len(kind)), kind, pack(len(name)), name, pack(len(dep.identity)), dep.identity


class _WordSink:
    """Collects what people read."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def start(self, count: int) -> None:
        """The count is for machines."""

    def dep(self, dep: Dep) -> None:
        # The value of an argument is its note, unless only a digest tells it from longer ones.
        is_said = dep.kind == "arg" and dep.note and len(dep.identity) < _DIGEST_BYTES
        identity = "" if is_said else _identity_words(dep.identity)
        self.lines.append(Line(dep.kind, title(dep.kind, dep.name), identity, dep.note))


def title(kind: str, name: str) -> str:
    """An input's name for people: of an entry, which goes by its canonical key, the name in that key."""
    if kind != "entry":
        return name
    try:
        namespace, plain = split_key(name.encode("utf-8", "surrogateescape"))
    except (DecodeError, ValueError):
        return ascii(name)
    if isinstance(plain, bytes):
        plain = f"hex:{plain.hex()}"
    elif not plain.isprintable():
        plain = plain.encode("unicode_escape", "surrogatepass").decode()
    return f"{plain} (namespace {namespace})" if namespace else plain


def _identity_words(identity: bytes) -> str:
    """Plain text as it is, anything else by the beginning of its digits."""
    plain = identity.removeprefix(_LITERAL)
    if 0 < len(plain) <= _TEXT_CHARS and plain.isascii() and (text := plain.decode()).isprintable():
        return text
    return identity.hex()[:16] or "absent"


def _canonical(deps: Iterable[Dep]) -> tuple[Dep, ...]:
    """Sorted, and without repetition. Of repeated ones the greatest hint and note stay, whatever came first."""
    ordered = sorted(deps, key=_everything)
    return tuple(dict(zip(map(_counting, ordered), ordered, strict=True)).values())


def row(dep: Dep) -> Row:
    """An input as it is hashed."""
    kind, identity, name = dep.kind, dep.identity, _text(dep.name)
    head = _heads.get(kind)
    if head is None:
        head = _heads[kind] = _pack(len(_text(kind))) + _text(kind)
    return kind, dep.name, identity, b"".join((head, _pack(len(name)), name, _pack(len(identity)), identity))


_pack: Final = _U32.pack
_heads: Final[dict[str, bytes]] = {}


def _ordering(dep: Dep, number: int) -> Row:
    """A row that is never equal to one of another number, so that sorting looks at no Dep."""
    return *row(dep), dep.hint, dep.note, number, dep


def _by_name(deps: Iterable[Dep]) -> dict[tuple[str, str], tuple[Dep, ...]]:
    """Inputs by kind and name. An input seen in two states appears with both."""
    found: dict[tuple[str, str], tuple[Dep, ...]] = {}
    for dep in deps:
        place = dep.kind, dep.name
        found[place] = (*found.get(place, ()), dep)
    return found


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _string(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _fields(data: bytes, at: int) -> list[bytes]:
    """All fields behind the magic; never allocates for a length that the data cannot hold."""
    try:
        (count,) = _U32.unpack_from(data, at)
        at += _U32.size
        fields = []
        for _ in range(count * _FIELDS):
            (length,) = _U32.unpack_from(data, at)
            at += _U32.size + length
            if at > len(data):
                raise DecodeError(f"a manifest of {len(data)} bytes claims {at}")
            fields.append(data[at - length : at])
    except struct.error:
        raise DecodeError(f"a manifest of {len(data)} bytes is truncated") from None
    if at != len(data):
        raise DecodeError(f"a manifest has {len(data) - at} bytes behind its end")
    return fields
