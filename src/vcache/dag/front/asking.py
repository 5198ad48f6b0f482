"""Values that ask for more while they run: found again by what they asked, in the order they asked it.

What a function asks first depends on its code and its arguments; what it asks next, also on the
answers. So a run is remembered as rounds: what was read before a question, the question, and what
identifies the answers. As long as all of that is so again, the next question is the same.
(*Build Systems à la Carte* calls it a constructive trace with dynamic dependencies.)

It knows calls, nodes and a cache's observer; it runs no function.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from vcache.dag.front.targets import Promise, Target
from vcache.dag.node import Call, Need, Node
from vcache.entry import Dep, Key, make_key
from vcache.errors import FingerprintError, GraphError, VcacheError
from vcache.fingerprint.arguments import identity
from vcache.fingerprint.inputs import Dir, File
from vcache.fingerprint.manifest import Manifest
from vcache.kit.data import dataclass, field
from vcache.outcome import Hit

if TYPE_CHECKING:
    from vcache.dag.front.graph import PyGraph
    from vcache.fingerprint.traced import Recording
    from vcache.making import Keeper

__all__ = ["Asking", "Round"]

_NAMESPACE: Final = ".asked"
_MOST_TRACES: Final = 16  # as many as sets of discovered names
_LEAVES: Final = (type(None), bool, int, float, str, bytes)


# A function that is gone, arguments that it does not take, or words of another version.
_NO_QUESTION: Final = (VcacheError, TypeError, ValueError, LookupError, AttributeError)


class _Unwritable(Exception):
    """A call with an argument that cannot be written down."""


@dataclass(slots=True)
class Round:
    """One question.

    Attributes:
        read: what was read before it, since the question before.
        asked: the calls and paths, written down; None if that cannot be done.
        answers: what identifies each answer.
    """

    read: list[Dep] = field(default_factory=list)
    asked: list[object] | None = None
    answers: list[bytes] = field(default_factory=list)


class Asking:
    """The remembered runs of one call.

    Args:
        owner: the step's name, before the fingerprint in the name of a result.
        base: what is known before it runs.
    """

    def __init__(self, graph: PyGraph, keeper: Keeper, *, owner: str, base: Manifest) -> None:
        self._graph, self._keeper, self._owner, self._base = graph, keeper, owner, base
        self._key: Key = make_key(base.fingerprint(), namespace=_NAMESPACE)
        self._rounds: list[Round] = []
        self._known: set[tuple[str, str]] = set()

    # -- looking up ------------------------------------------------------------------------------

    def find(self) -> Generator[Need, tuple[object, ...], Hit | None]:
        """The result of an earlier run that asked the same and was answered the same."""
        for trace in self._traces():
            rounds = _rounds_of(trace)
            found = None if rounds is None else (yield from self._follow(rounds))
            if found is not None:
                return found
        return None

    def _follow(self, trace: Sequence[_Said]) -> Generator[Need, tuple[object, ...], Hit | None]:
        deps: list[Dep] = []
        for read, asked, answers in trace:
            if self._keeper.observer.first_stale(read) is not None:
                return None
            deps += read
            if not asked:
                continue  # what was read after the last question
            try:
                need = self._need(asked)
            except _NO_QUESTION:
                return None
            results = yield need
            now = self._answers(need, results)
            if now != answers:
                return None
            deps += _value_deps(need, now)
        key = self._keeper.key(self._name(Manifest((*self._base, *deps))))
        found = self._keeper.peek_key(key)
        return found if isinstance(found, Hit) and not found.is_expired else None

    def _traces(self) -> list[Any]:
        found = self._keeper.peek_key(self._key)
        return found.value if isinstance(found, Hit) and isinstance(found.value, list) else []

    # -- learning --------------------------------------------------------------------------------

    def note(self, need: Need, results: tuple[object, ...], recording: Recording) -> None:
        """A question of a run, and its answers."""
        asked: list[object] | None
        try:
            asked = [*map(self._written, need.nodes), *(["path", path] for path in need.paths)]
        except _Unwritable:
            asked = None
        answers = self._answers(need, results)
        self._rounds.append(Round([*self._news(recording), *_value_deps(need, answers)], asked, answers))

    def keep(self, value: object, recording: Recording, *, cost_ns: int) -> str:
        """Keep the result of the run that was noted; why not, or ""."""
        tail = self._news(recording)
        if recording.unstable:
            return f"{min(recording.unstable)} changed while it ran"
        if any(each.asked is None for each in self._rounds):
            return "an argument of what it asked for cannot be written down"
        from vcache import recipes
        from vcache.valuables import Conditions

        deps = [*(dep for each in self._rounds for dep in each.read), *tail]
        manifest = Manifest((*self._base, *deps))
        name = self._name(manifest)
        if not self._keeper.put_key(self._keeper.key(name), value, Conditions(cost_ns=cost_ns)):
            return ""
        recipes.keep(self._keeper, name, manifest, found_by=self._key)
        trace = [[_raw(each.read), each.asked, each.answers] for each in self._rounds]
        trace.append([_raw(tail), [], []])
        others = [known for known in self._traces() if known != trace]
        self._keeper.put_key(self._key, [trace, *others][:_MOST_TRACES])
        return ""

    def _news(self, recording: Recording) -> list[Dep]:
        """What was read since the last question."""
        found = []
        for dep in recording.deps(self._keeper.observer):
            if (dep.kind, dep.name) not in self._known:
                self._known.add((dep.kind, dep.name))
                found.append(dep)
        return found

    def _name(self, manifest: Manifest) -> str:
        return f"{self._owner}:{manifest.fingerprint().hex()}"

    # -- questions and answers -----------------------------------------------------------------------

    def _answers(self, need: Need, results: tuple[object, ...]) -> list[bytes]:
        found = []
        for node, result in zip(need.nodes, results, strict=True):
            if isinstance(node.work, Call):
                found.append(identity(result, where=f"the value of {node.name}"))
            else:
                found.append(self._looks(node.outs))
        return [*found, *(self._looks((path,)) for path in need.paths)]

    def _looks(self, paths: Iterable[str]) -> bytes:
        observer, base = self._keeper.observer, self._graph.base
        seen: list[tuple[str, bytes]] = []
        for path in paths:
            full = os.path.join(base, path)
            try:
                deps = observer.observe(Dir(full) if os.path.isdir(full) else File(full))
            except FingerprintError:
                deps = ()
            seen += ((dep.name, dep.identity) for dep in deps)
        return identity(seen)

    def _need(self, asked: Iterable[Any]) -> Need:
        """A question that was written down.

        Raises:
            GraphError: the build file has no such function, or it takes no such arguments.
        """
        nodes: list[Node] = []
        paths: list[str] = []
        for kind, *rest in asked:
            if kind == "path":
                paths.append(rest[0])
            else:
                nodes.append(self._node(kind, rest))
        return Need(tuple(nodes), tuple(paths))

    def _node(self, kind: str, rest: Sequence[Any]) -> Node:
        if kind == "name":
            node = self._graph.nodes.get(rest[0])
            if node is None:
                raise GraphError(f"nothing is called {rest[0]!r}")
            return node
        name, args, kwargs = rest
        function = self._graph.functions.get(name)
        if function is None:
            raise GraphError(f"there is no function {name!r}")
        return function.again(
            tuple(map(self._read, args)), {key: self._read(each) for key, each in kwargs.items()}
        )

    def _written(self, node: Node) -> list[object]:
        """A node by the call that made it.

        Raises:
            _Unwritable: it, or an argument of the call, cannot be named in another process.
        """
        call = self._graph.calls.get(node)
        if call is None:
            if self._graph.nodes.get(node.name) is not node:
                raise _Unwritable
            return ["name", node.name]
        name, args, kwargs = call
        return [
            "call",
            name,
            [self._write(each) for each in args],
            {key: self._write(each) for key, each in kwargs.items()},
        ]

    def _write(self, value: object) -> object:
        if isinstance(value, Target | Promise):
            return self._written(value.node)
        if isinstance(value, File):
            return ["file", value.path, value.by]
        if isinstance(value, Dir):
            return ["dir", value.path]
        if type(value) in _LEAVES:
            return ["is", value]
        if type(value) in (list, tuple):
            return [type(value).__name__, *(self._write(each) for each in cast("Iterable[object]", value))]
        if type(value) is dict and all(type(key) in _LEAVES for key in value):
            return ["dict", *([key, self._write(each)] for key, each in value.items())]
        raise _Unwritable

    def _read(self, raw: Any) -> object:
        kind, *rest = raw
        match kind:
            case "is":
                return rest[0]
            case "file":
                return File(*rest)
            case "dir":
                return Dir(*rest)
            case "list":
                return [self._read(each) for each in rest]
            case "tuple":
                return tuple(self._read(each) for each in rest)
            case "dict":
                return {key: self._read(each) for key, each in rest}
        node = self._node(kind, rest)
        return Promise(node) if isinstance(node.work, Call) else Target(node)


def _value_deps(need: Need, answers: Sequence[bytes]) -> list[Dep]:
    """What was asked for, as inputs of the result: values by their nodes' names, the rest by what it holds."""
    names = (*(node.name for node in need.nodes), *need.paths)
    return [Dep("value", name, known) for name, known in zip(names, answers, strict=True)]


_Said: TypeAlias = "tuple[list[Dep], list[Any], list[Any]]"


def _rounds_of(trace: Any) -> list[_Said] | None:
    """What was read, asked and answered, round by round; None for what is no trace, such as another version's."""
    rounds: list[_Said] = []
    try:
        for read, asked, answers in trace:
            if not all(list(map(type, each)) == [str, str, bytes] for each in read):
                return None
            rounds.append(([Dep(*each) for each in read], list(asked), list(answers)))
    except (TypeError, ValueError):
        return None
    return rounds


def _raw(deps: Iterable[Dep]) -> list[list[object]]:
    """Records as plain values; answers are kept beside."""
    return [[dep.kind, dep.name, dep.identity] for dep in deps if dep.kind != "value"]
