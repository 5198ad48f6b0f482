"""The graph that a vcachefile makes: nodes, who makes what, pools, phony names, defaults.

It grows while bodies run. It knows nodes and the functions that make them by a small protocol, and
nothing of how a function becomes a node.
"""

from __future__ import annotations

import os
import posixpath
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from vcache.dag.front.scene import graph_var
from vcache.dag.front.trouble import caller
from vcache.dag.node import CONSOLE, Node, Pool
from vcache.errors import GraphError
from vcache.fingerprint.globs import Directories, split
from vcache.fingerprint.inputs import Dir, Env, File, Glob, Spec, Value
from vcache.kit.names import did_you_mean

if TYPE_CHECKING:
    from vcache.dag.errands import JobPlace
    from vcache.fingerprint.traced import Recording
    from vcache.making import Keeper

__all__ = ["CPU", "Function", "PyGraph"]

CPU: Final = "cpu"
"""The pool of what takes a slot of the run and nothing else."""


class Function(Protocol):
    """What makes nodes: a step, a value or a log query of the build file."""

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str: ...

    @property
    def is_goal(self) -> bool:
        """It is made where nobody says what to make."""
        ...

    @property
    def made(self) -> Sequence[tuple[Mapping[str, str], Node]]:
        """The nodes of all calls so far, each with its arguments as text."""
        ...

    def bare(self) -> Node | None:
        """The node of a call without arguments; None if it needs some."""
        ...

    def spelled(self, arguments: Mapping[str, str]) -> Node:
        """The node of a call with arguments as they are written on a command line."""
        ...

    def again(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Node:
        """The node of a call."""
        ...


class PyGraph:
    """A `Graph` made by Python.

    Args:
        base: the absolute directory of the build file.
        keeper: the cache that values are kept in.
        options: what `-D name=value` said.
        log_words: asked for what leads a `vcache logs` command to the log store of this build.
        jobs: where job nodes are done; None where none may be.

    Attributes:
        functions: steps, values and log queries by name.
        lock: guards the making of nodes; a node's making may make others.
        calls: of each node that is one, the function's name and its arguments.
        program_names: what the build file declared as tools.
        found_programs: those that are there; looked for once in a run.
        pool_users: names of pools, with the places that ask for them.
        wanted: what the build file says is to be made by default; asked once it is read.
        asked_options: options that the build file asked for, with what it got.
        seen: what bodies and values read; set by who loads the file.
    """

    def __init__(
        self, base: str, *, keeper: Keeper | None = None, options: Mapping[str, str] | None = None,
        log_words: Callable[[], Sequence[str]] = tuple, jobs: JobPlace | None = None,
    ) -> None:  # fmt: skip
        self._base = base
        self._prefix = os.path.join(base, "")
        self.keeper = keeper
        self.log_words = log_words
        self.jobs = jobs
        self.options = dict(options or {})
        self.asked_options: dict[str, str | None] = {}
        self.functions: dict[str, Function] = {}
        self.calls: dict[Node, tuple[str, tuple[object, ...], Mapping[str, object]]] = {}
        self.lock = threading.RLock()
        self.program_names: set[str] = set()
        self.found_programs: set[str] = set()
        self.pool_users: list[tuple[str, str]] = []
        self.seen: Recording | None = None
        self.wanted: list[Callable[[], Sequence[Node]]] = []
        self._pools = {CPU: Pool(CPU), CONSOLE: Pool(CONSOLE, 1)}
        self._nodes: dict[str, Node] = {}
        self._by_path: dict[str, Node] = {}
        self._by_directory: dict[str, list[Node]] = {}
        self._trees: list[str] = []
        self._tags: dict[str, list[Node]] = {}
        self._on_demand: set[Node] = set()
        self._directories = Directories()
        self._specs: dict[str, Spec] = {}

    # -- what the runner asks --------------------------------------------------------------------

    @property
    def base(self) -> str:
        return self._base

    @property
    def pools(self) -> Mapping[str, Pool]:
        return self._pools

    @property
    def nodes(self) -> Mapping[str, Node]:
        """All nodes so far, by name."""
        return self._nodes

    def producer(self, path: str) -> Node | None:
        """As `Graph.producer`; also of what lies below a directory that is made as a whole."""
        found = self._by_path.get(path)
        if found is not None or not self._trees:
            return found
        tree = next((tree for tree in self._trees if path.startswith(tree) or f"{path}/" == tree), None)
        return None if tree is None else self._by_path[tree]

    def producers(self, path: str) -> tuple[Node, ...]:
        """As `Graph.producers`."""
        return tuple(self._by_directory.get(path, ()))

    def with_dyndep(self, node: Node) -> Node:
        """The node: Python says its dependencies itself."""
        return node

    # -- what the front end tells -----------------------------------------------------------------

    def add(self, node: Node, *, tags: Sequence[str] = (), is_default: bool = True) -> None:
        """Take a node in; one that is no default only by its name, or for others.

        Raises:
            GraphError: its name or one of its outputs is another node's, or its pool is unknown.
        """
        self._refuse_twice(node.name, node, self._nodes.get(node.name))
        if len(set(node.outs)) < len(node.outs):
            raise GraphError(f"{node.place}: {node.rule} names an output twice: {', '.join(node.outs)}")
        for path in node.outs:
            self._refuse_twice(path, node, self._owner(path))
        self._nodes[node.name] = node
        for path in node.outs:
            self._by_path[path] = node
            if path.endswith("/"):
                self._trees.append(path)
            above = posixpath.dirname(path.rstrip("/"))
            while above:
                self._by_directory.setdefault(f"{above}/", []).append(node)
                above = posixpath.dirname(above)
        if not is_default:
            self._on_demand.add(node)
        for tag in tags:
            self._tags.setdefault(tag, []).append(node)

    def add_pool(self, pool: Pool) -> None:
        """Take a pool in.

        Raises:
            GraphError: there is one of that name with other bounds.
        """
        known = self._pools.get(pool.name)
        if known is not None and known != pool:
            raise GraphError(f"{caller(self._base)}: the pool {pool.name!r} is there already, as {known}")
        self._pools[pool.name] = pool

    def add_function(self, function: Function) -> None:
        """Take a step, value or log query in.

        Raises:
            GraphError: there is one of that name.
        """
        known = self.functions.get(function.name) or self._nodes.get(function.name)
        if known is not None:
            raise GraphError(f"{function.place}: {function.name!r} is there already: {known.place}")
        self.functions[function.name] = function

    def check(self) -> None:
        """Refuse what only the whole file can tell.

        Raises:
            GraphError: a pool that nobody declared, or an option that nobody asked for; with the
                nearest names.
        """
        for name, place in self.pool_users:
            if name and name not in self._pools:
                near = did_you_mean(name, self._pools)
                raise GraphError(f"{place}: no pool {name!r}{near} (build.pool declares one)")
        # What needs no arguments makes its outputs whether or not somebody calls it.
        for function in list(self.functions.values()):
            if function.is_goal:
                function.bare()
        for name in self.options:
            if name not in self.asked_options:
                near = did_you_mean(name, self.asked_options)
                raise GraphError(f"-D {name}: the build file has no such option{near}")

    def observe(self, spec: Spec) -> None:
        """Let the evaluation of the build file depend on something; and the value that is being made."""
        self._specs[repr(spec)] = spec
        recording = _current_recording()
        if recording is not None and recording is not self.seen:
            recording.adopt(spec)

    @property
    def specs(self) -> tuple[Spec, ...]:
        """What the build file asked for by name: patterns, variables, options."""
        options = (Value(f"-D {name}", value) for name, value in self.asked_options.items())
        return (*self._specs.values(), *options)

    # -- paths -------------------------------------------------------------------------------------

    def path(self, path: str | File | Dir) -> str:
        """A path as the graph names it: relative where it lies below the base, without "." and "..".

        Raises:
            GraphError: it is empty.
        """
        text = path if isinstance(path, str) else path.path
        if not text:
            raise GraphError(f"{caller(self._base)}: an empty path: give the name of a file")
        plain = posixpath.normpath(text)
        if plain[0] == "/":
            prefix = self._prefix
            plain = (
                plain[len(prefix) :] if plain.startswith(prefix) else "." if plain == self._base else plain
            )
        return f"{plain}/" if text[-1] == "/" or isinstance(path, Dir) else plain

    def out(self, path: str, place: str) -> str:
        """An output as the graph names it.

        Raises:
            GraphError: it is not below the base.
        """
        name = self.path(path)
        if name[0] == "/" or name.split("/")[0] in ("..", "."):
            raise GraphError(f"{place}: the output {path!r} is outside of {self._base}: outputs lie below it")
        return name

    def matches(self, pattern: Glob) -> list[str]:
        """The files that a pattern matches, sorted; the evaluation depends on which there are."""
        start, parts = split(pattern.pattern)
        full = os.path.join(self._base, start) if start else self._base
        self.observe(Glob(os.path.join(_escaped(self._base), pattern.pattern), hidden=pattern.hidden))
        from vcache.fingerprint.traced import paused

        with paused():  # the pattern is what counts, not the directories it led through
            return [self.path(name) for name in self._directories.match(full, parts, hidden=pattern.hidden)]

    def env(self, name: str) -> str | None:
        """A variable of the caller; the evaluation depends on it."""
        self.observe(Env(name))
        return os.environ.get(name)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Within, this is the graph that is being written."""
        token = graph_var.set(self)
        try:
            yield
        finally:
            graph_var.reset(token)

    # -- goals ---------------------------------------------------------------------------------------

    def defaults(self) -> list[Node]:
        """What to make where nobody says it."""
        if self.wanted:
            found = [node for want in self.wanted for node in want()]
        else:
            found = [node for node in self._nodes.values() if node not in self._on_demand]
            for function in list(self.functions.values()):
                if function.is_goal and (node := function.bare()) is not None:
                    found.append(node)
        return list(dict.fromkeys(found))

    def targets(self, words: Sequence[str]) -> list[Node]:
        """The nodes that words name: steps, calls such as "compile[stem=a]", outputs, phony names, tags.

        Without words: what the build file says is to be made by default.

        Raises:
            GraphError: nothing is called so; with the nearest names.
        """
        if not words:
            return self.defaults()
        found = [node for word in words for node in self._named(word) or self._named_at_last(word)]
        return list(dict.fromkeys(found))

    def _named(self, word: str) -> Sequence[Node]:
        node = self._nodes.get(word) or self.producer(self.path(word))
        if node is not None:
            return (node,)
        name, bracket, rest = word.partition("[")
        function = self.functions.get(name)
        if function is not None and not bracket:
            return self._all_of(function)
        if function is not None and rest.endswith("]"):
            return self._called(function, word, rest[:-1])
        if word.startswith("tag:") and (tagged := self._tags.get(word[4:])):
            return tagged
        return self.producers(f"{self.path(word)}/".replace("//", "/"))

    def _named_at_last(self, word: str) -> Sequence[Node]:
        """What a word names once every step that needs no arguments has its node."""
        for function in list(self.functions.values()):
            if function.is_goal:
                function.bare()
        found = self._named(word)
        if not found:
            raise self._unknown(word)
        return found

    def _all_of(self, function: Function) -> Sequence[Node]:
        bare = function.bare()
        if bare is not None:
            return (bare,)
        if function.made:
            return tuple(node for _, node in function.made)
        raise GraphError(
            f"{function.name!r} ({function.place}) needs arguments, and nothing has called it yet: "
            f"write {function.name}[name=value,…]"
        )

    def _called(self, function: Function, word: str, rest: str) -> Sequence[Node]:
        given: dict[str, str] = {}
        for part in filter(None, rest.split(",")):
            name, equals, value = part.partition("=")
            if not equals:
                raise GraphError(f"{word!r}: {part!r} is no argument: write {function.name}[name=value,…]")
            given[name.strip()] = value
        found = [node for shown, node in function.made if all(shown.get(k) == v for k, v in given.items())]
        return found or (function.spelled(given),)

    def _unknown(self, word: str) -> GraphError:
        if os.path.exists(os.path.join(self._base, word)):
            return GraphError(f"{word!r} is a file that nobody makes")
        names = {*self._nodes, *self.functions, *self._by_path, *(f"tag:{tag}" for tag in self._tags)}
        if len(names) > _NAMES_SHOWN:
            from vcache.kit.names import nearest

            near = nearest(word, names)
            tail = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        else:
            tail = did_you_mean(word, names)
        return GraphError(f"unknown target {word!r}{tail}")

    # -- inside --------------------------------------------------------------------------------------

    def _owner(self, path: str) -> Node | None:
        """Who makes a path, a directory above it, or something below it."""
        owner = self.producer(path)
        if owner is None and path.endswith("/"):
            owner = self._by_path.get(path[:-1]) or next(iter(self.producers(path)), None)
        return owner

    def _refuse_twice(self, what: str, node: Node, other: Node | None) -> None:
        if other is None:
            return
        now = caller(self._base) or node.place
        raise GraphError(
            f"{now}: {node.rule or node.name} ({node.place}) makes {what!r}, which {other.name!r} "
            f"({other.place}) makes already: give each an output of its own"
        )

    def __iter__(self) -> Iterator[Node]:
        return iter(tuple(self._nodes.values()))


_NAMES_SHOWN: Final = 12


def _current_recording() -> Recording | None:
    from vcache.fingerprint import traced  # who loads a file has it loaded

    return traced.current()


def _escaped(path: str) -> str:
    from vcache.fingerprint.globs import escape

    return escape(path)
