"""Handles: what calling a step or a value gives, and how they are awaited.

A step's handle is a `File`, its first output, so that it can be given wherever a file can. A
value's handle stands for a value that is not there yet; to a type checker it is that value.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast, overload

from vcache.dag.front.scene import Paper, current_frame, current_graph
from vcache.dag.front.trouble import caller
from vcache.dag.node import Call, Need, Node
from vcache.errors import GraphError
from vcache.fingerprint.inputs import Dir, Env, File, Glob, Tool
from vcache.kit.data import dataclass, field

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["Handle", "Inputs", "Needed", "Promise", "Target", "handle_of", "need", "replaced"]

T = TypeVar("T")


class Target(File):
    """What a call of a step makes. As a path it is the first output; all of them are inputs of its user.

    `await` gives it back once it is made.

    Attributes:
        node: what makes it.
    """

    __slots__ = ("node",)

    node: Node

    def __init__(self, node: Node) -> None:
        object.__setattr__(self, "path", node.outs[0] if node.outs else "")
        object.__setattr__(self, "by", "content")
        object.__setattr__(self, "node", node)

    @property
    def outs(self) -> tuple[File, ...]:
        """All it makes."""
        return tuple(map(File, self.node.outs))

    def __fspath__(self) -> str:
        if not self.path:
            raise GraphError(f"{self.node.name!r} makes no file (outs= is empty): it has no path")
        return self.path

    def __await__(self) -> Generator[Need, tuple[object, ...], Target]:
        yield Need((self.node,))
        return self

    def __vcache_key__(self) -> object:
        return ("target", self.node.name)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{self.node.name}>"


class _NotYet(GraphError, AttributeError):
    """What a value that is not there yet is asked for. `hasattr` takes it for a no."""


class Promise:
    """A value that a node will have. Give it to a step, a value or `need`.

    `await` gives the value.
    """

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def __await__(self) -> Generator[Need, tuple[object, ...], object]:
        (value,) = yield Need((self.node,))
        return value

    def __vcache_key__(self) -> object:
        return ("value", self.node.name)

    def __getattr__(self, name: str) -> NoReturn:
        if name[:2] == "__":  # what copy, inspect and others look for
            raise AttributeError(name)
        raise self._not_yet(f"has no {name!r} yet")

    def __iter__(self) -> NoReturn:
        raise self._not_yet("cannot be looped over yet")

    def __bool__(self) -> bool:
        raise self._not_yet("is neither true nor false yet")

    def __str__(self) -> str:
        raise self._not_yet("has no text yet")

    def __repr__(self) -> str:
        return f"<{self.node.name}>"

    def _not_yet(self, what: str) -> GraphError:
        return _NotYet(
            f"the value of {self.node.name} {what}: it is made in a run. Await it in an async body, or "
            "give it to a step or value as an argument"
        )


Handle = Target | Promise


def handle_of(value: object) -> Handle | None:
    """The handle that a value is or, for a function that needs no arguments, gives."""
    if isinstance(value, Target | Promise):
        return value
    bare = getattr(value, "__vcache_bare__", None)
    return cast("Handle", bare()) if bare is not None and not isinstance(value, type) else None


class Needed(Generic[T]):
    """What `need` gives: to be awaited."""

    __slots__ = ("_asked", "_place")

    def __init__(self, asked: tuple[object, ...], place: str) -> None:
        self._asked = asked
        self._place = place

    def __await__(self) -> Generator[Need, tuple[object, ...], T]:
        frame = current_frame()
        if frame is not None:
            frame.unawaited.pop(id(self), None)
        if not self._asked:
            return cast("T", [])
        handles = [each for each in self._asked if not isinstance(each, str)]
        nodes = tuple(cast("Handle", each).node for each in handles)
        paths = tuple(each for each in self._asked if isinstance(each, str))
        results = dict(zip(map(id, nodes), (yield Need(nodes, paths)), strict=True))
        return cast("T", [_result(each, results) for each in self._asked])

    def __iter__(self) -> NoReturn:
        self._refuse()

    def __getattr__(self, name: str) -> NoReturn:
        if name[:2] == "__":
            raise AttributeError(name)
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise GraphError(f"{self._place}: need(…) without await: write `await need(…)` in an `async def`")


def _result(asked: object, results: Mapping[int, object]) -> object:
    if isinstance(asked, str):
        return Dir(asked) if asked.endswith("/") else File(asked)
    return asked if isinstance(asked, Target) else results[id(cast("Promise", asked).node)]


@overload
def need(*targets: str) -> Needed[list[File]]: ...


@overload
def need(*targets: Callable[[], T]) -> Needed[list[T]]: ...


@overload
def need(*targets: T) -> Needed[list[T]]: ...


def need(*targets: object) -> Needed[Any]:
    """What targets and paths are, once they are made: await it. All of it counts as input.

    Args:
        targets: what calls of steps and values gave, functions that need no arguments, or paths.

    Returns: files for steps and paths, values for values; in the order asked.

    Raises:
        GraphError: outside of an async body, or something that nobody makes.
    """
    frame, graph = current_frame(), current_graph()
    place = caller("" if graph is None else graph.base)
    if frame is None or graph is None:
        raise GraphError(f"{place}: need(…) works in the body of an async step or value")
    asked: list[object] = []
    for target in targets:
        handle = handle_of(target)
        if handle is not None:
            asked.append(handle)
        elif isinstance(target, str | File | Dir):
            path = graph.path(target)
            asked.append(path)
        else:
            raise GraphError(
                f"{place}: need({target!r:.80}): that is no target: give what a call of a step or value gave, "
                f"or a path{_splat(target)}"
            )
    needed: Needed[Any] = Needed(tuple(asked), place)
    frame.unawaited[id(needed)] = place
    return needed


def _splat(target: object) -> str:
    return ". To give all of them, write need(*…)" if isinstance(target, Iterable) else ""


@dataclass(slots=True)
class Inputs:
    """What was found in arguments, `ins` or the words of a command: each once, in order.

    Attributes:
        paths: files and directories, as paths of the graph.
        nodes: what has no path: values, and steps without outputs.
        heeds, tools: names of variables and programs.
    """

    paths: dict[str, None] = field(default_factory=dict)
    nodes: dict[Node, None] = field(default_factory=dict)
    heeds: dict[str, None] = field(default_factory=dict)
    tools: dict[str, None] = field(default_factory=dict)

    def take(self, value: object, *, is_path: bool = False) -> None:
        """Note what a value names, however deep in containers.

        Args:
            is_path: text is a path, or a pattern.
        """
        if value is None or type(value) in (str, int, bool, float):
            if is_path:
                self._take_text(value)
        elif isinstance(value, Target | Promise):
            self.take_node(value.node)
        elif isinstance(value, File | Dir):
            self.paths[_graph().path(value)] = None
        elif isinstance(value, Glob):
            self.paths.update(dict.fromkeys(_graph().matches(value)))
        elif isinstance(value, Env):
            self.heeds[value.name] = None
        elif isinstance(value, Tool):
            self.tools[value.name] = None
        elif isinstance(value, Mapping):
            self._take_all(value.values(), is_path)
        elif isinstance(value, list | tuple | set | frozenset):
            self._take_all(value, is_path)
        elif is_path and isinstance(value, str):
            self._take_path(value)
        elif is_path and (handle := handle_of(value)) is not None:
            self.take_node(handle.node)
        elif is_path and hasattr(value, "__fspath__"):
            self._take_path(value.__fspath__())
        elif is_path:
            self._take_text(value)

    def take_node(self, node: Node) -> None:
        """Note what a node makes."""
        if node.outs:
            self.paths.update(dict.fromkeys(node.outs))
        if not node.outs or (isinstance(node.work, Call)):
            self.nodes[node] = None

    def _take_all(self, values: Iterable[object], is_path: bool) -> None:
        for each in values:
            self.take(each, is_path=is_path)

    def _take_text(self, value: object) -> None:
        if not isinstance(value, str) or not value:
            raise GraphError(f"{value!r:.80} is no input: give paths, files, patterns or targets")
        self._take_path(value)

    def _take_path(self, path: str) -> None:
        graph = _graph()
        if any(char in path for char in _MAGIC):
            self.paths.update(dict.fromkeys(graph.matches(Glob(path))))
        else:
            self.paths[graph.path(path)] = None


_MAGIC: Final = "*?["


def _graph() -> Paper:
    graph = current_graph()
    if graph is None:
        raise GraphError(f"{caller('')}: this works in a vcachefile.py: run it with `vcache build`")
    return graph


def replaced(value: object, results: Mapping[Node, object], *, plain: bool = False) -> object:
    """A value with each promise in it, however deep, replaced by what it became.

    Args:
        plain: targets become plain files and directories, too.
    """
    if isinstance(value, Promise):
        return results[value.node]
    if plain and isinstance(value, Target):
        if not value.path:
            return None
        return Dir(posixpath.normpath(value.path)) if value.path.endswith("/") else File(value.path)
    if isinstance(value, dict):
        return {key: replaced(each, results, plain=plain) for key, each in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        items = [replaced(each, results, plain=plain) for each in cast("Iterable[object]", value)]
        return cast("type[list[object]]", type(value))(items)
    return value
