"""Recipes: the manifests of earlier runs, kept so that `why` can say what changed.

A recipe is named `<owner>:<fingerprint>`, as the result it led to; the owner is a step or a command.
It knows a small protocol of a cache, and nothing of what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from vcache.entry import Dep, Entry, Key, make_key
from vcache.errors import DecodeError
from vcache.fingerprint.manifest import Change, Manifest, title
from vcache.kit.data import dataclass
from vcache.outcome import Hit, Miss
from vcache.valuables import PLAIN, Conditions

__all__ = [
    "NAMESPACE",
    "Recipe",
    "Why",
    "compare",
    "earlier",
    "in_words",
    "keep",
    "leading_key",
    "led_by",
    "load",
    "owner_of",
]

NAMESPACE: Final = ".recipes"
_FOUND_BY: Final = "found-by"
_HEX: Final = 64
# The nearest one is sought among so many of the latest: a busy step leaves thousands.
_MOST_COMPARED: Final = 256


class Shelf(Protocol):
    """What recipes need of a cache."""

    def peek_key(self, key: Key) -> Hit | Miss: ...

    def put_key(self, key: Key, value: object, conditions: Conditions = ...) -> bool: ...

    def entries_under(self, prefix: bytes) -> Iterator[Entry]: ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """One earlier run.

    Attributes:
        name: of the run's result.
        created_ns: when it ended.
        manifest: what went into it.
    """

    name: str
    created_ns: int
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Why:
    """What is different from the nearest earlier run.

    Attributes:
        name: of the result that is, or would be, looked for.
        is_hit: it is there; nothing changed.
        nearest: the name of the nearest earlier run's result; None when there is none.
        changes: what is different now. None and no hit means that the result is gone.
    """

    name: str
    is_hit: bool
    nearest: str | None = None
    changes: tuple[Change, ...] = ()


def keep(shelf: Shelf, name: str, manifest: Manifest, *, found_by: Key | None = None) -> None:
    """Remember what went into the result of that name.

    Args:
        found_by: the key of the list that leads to the result, where what it depends on shows only
            in a run.
    """
    conditions = PLAIN if found_by is None else Conditions(meta=led_by(found_by))
    shelf.put_key(make_key(name, namespace=NAMESPACE), manifest.to_bytes(), conditions)


def led_by(key: Key) -> dict[str, str]:
    """The words that a recipe is kept with, for who moves its result and must move what leads to it."""
    return {_FOUND_BY: key.hex()}


def leading_key(recipe: Entry) -> Key | None:
    """The key of the list that leads to a recipe's result; None where none does."""
    try:
        return bytes.fromhex(recipe.meta.get(_FOUND_BY, "")) or None
    except ValueError:
        return None  # another program's


def load(shelf: Shelf, name: str) -> Manifest | None:
    """What went into the result of that name, if it is still known."""
    found = shelf.peek_key(make_key(name, namespace=NAMESPACE))  # nobody's hit or miss: not counted
    if not isinstance(found, Hit) or not isinstance(found.value, bytes):
        return None
    try:
        return Manifest.from_bytes(found.value)
    except DecodeError:
        return None  # of another version of this library


def owner_of(name: str) -> str:
    """The owner in a recipe's name; empty when the name is not a recipe's."""
    owner, _, digest = name.rpartition(":")
    is_digest = len(digest) == _HEX and all(char in "0123456789abcdef" for char in digest)
    return owner if is_digest else ""


def earlier(shelf: Shelf, owner: str, *, before_ns: int | None = None) -> Iterator[Recipe]:
    """The latest recipes of an owner, the last one first.

    Args:
        owner: as in `owner_of`; one that ends with ":" stands for all that begin with it.
        before_ns: only recipes older than that.
    """
    prefix = owner if owner.endswith(":") else f"{owner}:"
    known = []
    for entry in shelf.entries_under(make_key(prefix, namespace=NAMESPACE)):
        name = entry.name
        is_old = before_ns is None or entry.created_ns < before_ns
        if is_old and isinstance(name, str) and (prefix == owner or owner_of(name) == owner):
            known.append((entry.created_ns, name))
    known.sort(reverse=True)
    for created_ns, name in known[:_MOST_COMPARED]:
        manifest = load(shelf, name)
        if manifest is not None:
            yield Recipe(name, created_ns, manifest)


def compare(
    older: Iterator[Recipe], newer: Callable[[Manifest], Manifest]
) -> tuple[Recipe, tuple[Change, ...]] | None:
    """The recipe with the fewest differences, the latest of equals, and what is different now.

    Args:
        older: the latest first.
        newer: the present manifest, as one older manifest allows to see it.
    """
    best: tuple[Recipe, tuple[Change, ...]] | None = None
    for recipe in older:
        changes = recipe.manifest.diff(newer(recipe.manifest))
        if best is None or len(changes) < len(best[1]):
            best = recipe, changes
        if not changes:
            break
    return best


def in_words(change: Change) -> list[str]:
    """A change as lines for people, such as `changed file src/a.h`."""
    if change.kind == "argv" and change.old is not None and change.new is not None:
        return _changed_words(change.old.note, change.new.note)
    noun = _NOUNS.get(change.kind, change.kind)
    name = "" if noun == change.name else f" {title(change.kind, change.name)}"
    # The note of an entry is its name once more.
    notes = "" if change.kind == "entry" else _notes(change.old, change.new)
    return [f"{change.what} {noun}{name}{notes}"]


_NOUNS: Final = {
    "arg": "argument",
    "argv": "command",
    "cwd": "working directory",
    "dir": "names in",
    "entry": "entry",
    "env": "environment variable",
    "glob": "names that match",
    "glob-all": "names that match",
    "list": "names in",
    "mtime": "time of file",
    "out": "output",
    "place": "root",
    "rsp": "response file",
    "set": "set variable",
}


def _notes(old: Dep | None, new: Dep | None) -> str:
    """From what to what: in words, or by the beginnings of digests where only those differ."""
    states = [dep.note for dep in (old, new) if dep is not None and dep.note]
    if old is not None and new is not None and old.kind in _BY_CONTENT:
        states = [dep.identity.hex()[:_DIGITS] or "absent" for dep in (old, new)]
    words = list(dict.fromkeys(states))
    return f": {' → '.join(words)}" if words else ""


_BY_CONTENT: Final = frozenset({"file", "tool"})  # never of a variable: a short value could be guessed
_DIGITS: Final = 8


def _changed_words(old: str, new: str) -> list[str]:
    """Two command lines, word by word: one flag put in must not look like everything changed."""
    import difflib  # 4 ms, paid only where something is explained
    import shlex

    before, after = shlex.split(old), shlex.split(new)
    lines = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        gone, come = shlex.join(before[i:j]), shlex.join(after[k:m])
        if tag == "replace":
            lines.append(f"changed argument: {gone} → {come}")
        elif tag == "delete":
            lines.append(f"removed argument: {gone}")
        elif tag == "insert":
            lines.append(f"added argument: {come}")
    return lines
