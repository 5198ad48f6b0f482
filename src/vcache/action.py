"""Actions: the results of commands by everything that went into them, several traces a key.

What is known before a run, the base manifest, leads to the sets of names that earlier runs
discovered; each set, looked at now, to the result of the run that saw the same. The rules and names
are those of docs/design/build.md. It knows the protocol of a cache that `making` names, and nothing
of what runs a command, nor when.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from vcache import artifacts, discovery
from vcache.entry import Entry, Key
from vcache.errors import EncodeError, FingerprintError, StoreError, UnsafePath, UsageError
from vcache.fingerprint.manifest import MAGIC, Manifest, Row, row
from vcache.fingerprint.restoring import Restorer
from vcache.hash import digest
from vcache.kit.data import dataclass, field
from vcache.outcome import Hit, Miss, Reason
from vcache.pieces import LINK, Artifact, Output
from vcache.portable import PLACE, is_told_by, place_dep
from vcache.valuables import ABSENT, Conditions

if TYPE_CHECKING:
    from vcache.entry import Dep
    from vcache.making import Keeper
    from vcache.recipes import Why

__all__ = ["Actions", "Chunk", "Look", "Published", "Result"]

Chunk: TypeAlias = tuple[int, int, bytes]
"""Something written at once: 1 for standard output or 2 for standard error, ns since the start, bytes."""

Look: TypeAlias = "Callable[[str, str], tuple[Dep, ...] | None]"
"""How the input of a kind and portable name is now; None when it cannot be looked at."""

_U32: Final = struct.Struct("<I")
_pack = _U32.pack
_ROWS_MOST: Final = 1 << 17
_SHARED: Final = frozenset(("recipe", "tool", "env", "set"))
_NOT_FOUND: Final = Miss(Reason.ABSENT)
# What a run discovers, and `why` therefore looks at again.
_DISCOVERED: Final = frozenset(("file", "absent", "list"))


@dataclass(frozen=True, slots=True)
class Result:
    """A kept result that fits what is there now.

    Attributes:
        name: of its entry.
        chunks: what the run wrote, in order.
        files: its outputs, as `artifacts` has them.
        found: what the run discovered, as it is, and was then.
        cost_ns: how long the run took.
        plan: the files by output, as they are put back.
        size_bytes: of its files together; -1 when unknown.
        origin: the run that made it; "" when unknown.
    """

    name: str
    chunks: tuple[Chunk, ...]
    files: tuple[Artifact, ...]
    found: tuple[Dep, ...]
    cost_ns: int
    plan: tuple[Output, ...] = field(default=(), repr=False)
    size_bytes: int = -1
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """A result that was kept; as in `Result`, with the place it is bound to, if it is."""

    name: str
    found: tuple[Dep, ...]
    files: tuple[Artifact, ...]


class Actions:
    """Finds, restores and keeps results in one cache, below its root.

    Args:
        keeper: the cache.
        look: how a discovered input is now, remembered by the caller as long as that may be. It is
            asked for every kind but "place". By default each is looked at each time.
        hard_links: large outputs are put back as links to the store's own files; see `Restorer`.

    Threads: any number, if `look` takes them.
    """

    def __init__(self, keeper: Keeper, *, look: Look | None = None, hard_links: bool = False) -> None:
        self._keeper = keeper
        self._look = look or self._observe
        self._restorer = Restorer(keeper.root, hard_links=hard_links)
        self._place = place_dep(keeper.root)
        self._rows: dict[int, tuple[Dep, Row]] = {}
        # Only a caller that remembers looks gives the same objects again.
        self._row: Callable[[Dep], Row] = row if look is None else self._row_of
        self._last: tuple[Manifest, bytes, list[Row]] | None = None

    # -- looking up ------------------------------------------------------------------------------

    def find(self, owner: str, base: Manifest) -> Result | None:
        """The kept result that fits what is there now. Not counted: see `count`.

        Args:
            owner: what its name begins with, such as "dag:obj/a.o".
            base: everything known before a run, with an `out` for each output.
        """
        if self._keeper.is_disabled:
            return None
        outs = tuple(dep.name for dep in base.deps if dep.kind == "out")
        for fingerprint, found in self._traces(base):
            result = self._result(f"{owner}:{fingerprint.hex()}", outs, found)
            if result is not None:
                return result
        return None

    def keys(self, owner: str, base: Manifest) -> tuple[Key, ...]:
        """What `find` will ask the cache for first."""
        fingerprint = self._of(base)[1]
        return discovery.seen_key(fingerprint), self._keeper.key(f"{owner}:{fingerprint.hex()}")

    def fingerprint(self, base: Manifest) -> bytes:
        """`base.fingerprint()`; found again by a `find` that follows."""
        return self._of(base)[1]

    def name(self, owner: str, base: Manifest) -> str:
        """Under which a result is, or would be, kept, as far as it is known before a run."""
        return f"{owner}:{next(self._traces(base))[0].hex()}"

    def has(self, result: Result) -> bool:
        """Whether its outputs are in place or can be put there."""
        try:
            return artifacts.can_put_in_place(self._keeper, result.plan, restorer=self._restorer)
        except (UnsafePath, OSError):
            return False

    def put_back(self, result: Result) -> tuple[str, ...] | None:
        """Make the root hold its outputs: the names that were written, those in place left alone.

        None when one cannot be had or written, so that the result is none: a run finds the same
        obstacle, and names it in its own words.
        """
        is_small = 0 <= result.size_bytes <= artifacts.LARGE_BYTES
        try:
            return artifacts.put_in_place(
                self._keeper, result.plan, restorer=self._restorer, is_small=is_small
            )
        except (UnsafePath, StoreError, OSError):
            return None

    def count(self, result: Result | None) -> None:
        """Count a look-up, with what it saved."""
        if result is None:
            self._keeper.count(_NOT_FOUND)
        else:
            key = self._keeper.key(result.name)
            self._keeper.count(Hit("", Entry(key, b"", 0, cost_ns=result.cost_ns), None))

    # -- keeping ---------------------------------------------------------------------------------

    def publish(
        self,
        owner: str,
        base: Manifest,
        found: Sequence[Dep],
        outs: Sequence[str],
        chunks: Sequence[Chunk],
        *,
        cost_ns: int,
        tags: frozenset[str] = frozenset(),
        ttl_ns: int | None = None,
        names_root: bool,
        has_discovery: bool = True,
        origin: str = "",
    ) -> Published | str:
        """Keep the result of a successful run; why it was not kept, in words.

        The caller has seen to it that no input changed while it ran.

        Args:
            found: what the run discovered.
            outs: the names of what it made, below the root; those of the `out`s in the base.
            names_root: the command named the root: an output that cannot be looked into holds it.
            has_discovery: what a run reads may differ from time to time.
            origin: the run that made it, for who is given the result again.
        """
        keeper = self._keeper
        if keeper.is_disabled or keeper.is_read_only:
            return f"the cache is {'disabled' if keeper.is_disabled else 'read-only'}"
        try:
            files = artifacts.collect(keeper, outs, restorer=self._restorer)
            if files is None:
                return "the cache could not take its outputs"
            paths = [self._path(file) for file in files if file[2] and file[1] != LINK]
            size_bytes = sum(os.lstat(path).st_size for path in paths)
            texts = [content for _, mode, content in files if mode == LINK]
            is_bound = self._is_bound(paths, cast("list[bytes]", texts), chunks, names_root=names_root)
        except (UsageError, UnsafePath, FingerprintError, OSError) as error:
            return str(error)
        found = (*found, self._place) if is_bound else tuple(found)
        _, fingerprint, rows = self._of(base)
        full = _fingerprint(sorted(rows + [row(dep) for dep in found])) if found else fingerprint
        name = f"{owner}:{full.hex()}"
        conditions = Conditions(ttl_ns=ttl_ns, cost_ns=cost_ns, tags=tags)
        content: dict[str, object] = {
            "value": [list(chunk) for chunk in chunks],
            "files": files,
            "bytes": size_bytes,
        }
        if origin:
            content["run"] = origin
        try:
            is_kept = keeper.put_key(keeper.key(name), content, conditions)
            if is_kept and (found or has_discovery):
                is_kept = discovery.learn_names(keeper, discovery.seen_key(fingerprint), found)
        except EncodeError as error:
            return str(error)
        if not is_kept:
            return "the cache could not take it"
        from vcache import recipes

        leading = discovery.seen_key(fingerprint) if found or has_discovery else None
        recipes.keep(keeper, name, Manifest((*base, *found)), found_by=leading)
        return Published(name, found, tuple(files))

    def _is_bound(
        self, paths: list[str], texts: list[bytes], chunks: Sequence[Chunk], *, names_root: bool
    ) -> bool:
        """Whether a result is true in this place only; see docs/design/build.md."""
        words = [b"".join(data for number, _, data in chunks if number == stream) for stream in (1, 2)]
        return is_told_by(self._keeper.root, files=paths, texts=(*texts, *words), is_named=names_root)

    def _path(self, file: Artifact) -> str:
        return os.path.join(self._keeper.root, cast("str", file[0]))

    # -- explaining ------------------------------------------------------------------------------

    def explain(self, owner: str, base: Manifest, *, like: str = "") -> Why:
        """What is different from the nearest earlier run.

        Args:
            owner, base: as in `find`.
            like: the beginning of other owners, the next best where this one has no earlier run.
        """
        from vcache import recipes

        if (result := self.find(owner, base)) is not None:
            return recipes.Why(result.name, is_hit=True)
        name = self.name(owner, base)
        for each in filter(None, (owner, like)):
            nearest = recipes.compare(
                recipes.earlier(self._keeper, each), lambda older: self._now(base, older)
            )
            if nearest is not None:
                return recipes.Why(name, is_hit=False, nearest=nearest[0].name, changes=nearest[1])
        return recipes.Why(name, is_hit=False)

    def _now(self, base: Manifest, older: Manifest) -> Manifest:
        """The present manifest, with what an earlier run discovered looked at now."""
        known = {(dep.kind, dep.name) for dep in base}
        found: list[Dep] = []
        for old in older:
            if old.kind == PLACE[0]:
                found.append(self._place)
            elif old.kind in _DISCOVERED and (old.kind, old.name) not in known:
                found += self._look(old.kind, old.name) or ()  # gone, which the difference shows
        return Manifest((*base, *found))

    # -- inside ----------------------------------------------------------------------------------

    def _traces(self, base: Manifest) -> Iterator[tuple[bytes, tuple[Dep, ...]]]:
        """The fingerprints under which a result may be kept, and what was discovered, the latest first."""
        _, fingerprint, rows = self._of(base)
        is_tried = False
        for names in discovery.sets_of(self._keeper, discovery.seen_key(fingerprint)):
            if not names:
                is_tried = True
                yield fingerprint, ()
                continue
            seen = self._seen(names)
            if seen is not None:
                yield _fingerprint(sorted(rows + seen[1])), tuple(seen[0])
        if not is_tried:
            yield fingerprint, ()

    def _of(self, base: Manifest) -> tuple[Manifest, bytes, list[Row]]:
        """A base with its fingerprint and rows, kept until the next one is asked for."""
        known = self._last
        if known is None or known[0] is not base:
            # Tools and variables are the same objects in the bases of many nodes, if the caller sees to it.
            rows = list(base.rows) or [
                self._row(dep) if dep.kind in _SHARED else row(dep) for dep in base.deps
            ]
            known = self._last = base, _fingerprint(rows), rows
        return known

    def _row_of(self, dep: Dep) -> Row:
        """The row of an input, kept with an object that the caller gives again and again."""
        known = self._rows.get(id(dep))
        if known is not None and known[0] is dep:
            return known[1]
        if len(self._rows) >= _ROWS_MOST:
            self._rows.clear()
        found = row(dep)
        self._rows[id(dep)] = dep, found
        return found

    def _seen(self, names: object) -> tuple[list[Dep], list[Row]] | None:
        """What a set of names is now; None when it cannot be what an earlier run saw."""
        deps: list[Dep] = []
        look = self._look
        try:
            for kind, name in names:  # type: ignore[attr-defined]
                if kind in _DISCOVERED:
                    found = look(kind, name)
                else:  # whoever wrote anything else has this machine walk directories at their word
                    found = (self._place,) if kind == "place" else None
                if found is None:
                    return None
                deps += found
        except (TypeError, ValueError):
            return None  # another program's: no pairs of text
        return deps, list(map(self._row, deps))

    def _result(self, name: str, outs: tuple[str, ...], found: tuple[Dep, ...]) -> Result | None:
        cost_ns, content = self._keeper.glance_key(self._keeper.key(name))
        if content is ABSENT or not isinstance(content, dict):
            return None
        chunks, files, size_bytes = content.get("value"), content.get("files"), content.get("bytes", -1)
        plan = artifacts.plan(files, outs)
        if plan is None or not isinstance(chunks, list) or not isinstance(size_bytes, int):
            return None
        if not all(
            isinstance(chunk, list) and list(map(type, chunk)) == [int, int, bytes] for chunk in chunks
        ):
            return None
        files = tuple(cast("list[Artifact]", files))
        origin = content.get("run")
        return Result(
            name, tuple(map(tuple, chunks)), files, found, cost_ns, tuple(plan), size_bytes,
            origin if isinstance(origin, str) else "",
        )  # fmt: skip

    def _observe(self, kind: str, name: str) -> tuple[Dep, ...] | None:
        spec = discovery.spec_of(kind, name, self._keeper.root)
        if spec is None:
            return None
        try:
            return self._keeper.observer.observe(spec)
        except FingerprintError:
            return None


def _fingerprint(rows: Sequence[Row]) -> bytes:
    """`Manifest.fingerprint` of sorted rows, each of which counts once."""
    packed = list(dict.fromkeys([each[3] for each in rows]))
    return digest(b"".join((MAGIC, _pack(len(packed)), *packed)))
