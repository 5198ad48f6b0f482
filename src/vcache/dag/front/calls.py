"""Calls of a build file's functions: which arguments they got, and what identifies them.

It knows functions and fingerprints of values; it makes no node.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, cast

from vcache.calls import Words, require_names
from vcache.dag.front.targets import Handle, Inputs, Promise, Target
from vcache.dag.front.trouble import caller, place_of
from vcache.errors import FingerprintError, GraphError, UsageError
from vcache.fingerprint.arguments import bind, identity
from vcache.fingerprint.inputs import Dir, File
from vcache.kit.data import dataclass, field
from vcache.kit.units import seconds, size_bytes

if TYPE_CHECKING:
    from vcache.dag.front.graph import PyGraph
    from vcache.dag.node import Node

__all__ = ["Asked", "Maker", "as_bytes", "as_seconds"]

_TEXT_CHARS: Final = 60
_IGNORE: Final = re.compile(r"leave it out with ignore=\(.*?\), or ")
_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE and its kin, without importing inspect
_GENERATORS: Final = 0x20 | 0x200


@dataclass(frozen=True, slots=True)
class Asked:
    """One call.

    Attributes:
        args, kwargs: as given.
        bound: every parameter's value, defaults included.
        shown: the parameters that were not left at their defaults, as text.
        inputs: what the arguments name.
    """

    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    bound: Mapping[str, object]
    shown: Mapping[str, str]
    inputs: Inputs = field(default_factory=Inputs)


class Maker(ABC):
    """A function of a build file whose calls are nodes. Equal calls are one node.

    Attributes:
        name: how it is called, in the file and on the command line.
        place: where it stands.
        made: the nodes of all calls, each with its arguments as text.
        is_goal: it is made where nobody says what to make.
    """

    is_goal = True

    def __init__(self, graph: PyGraph, function: Callable[..., object], templates: tuple[str, ...]) -> None:
        given: object = function
        if not isinstance(given, FunctionType):
            raise GraphError(
                f"{caller(graph.base)}: {given!r:.80} is no function: options are keywords, as in @build.step(outs=[…])"
            )
        self.graph = graph
        self.function: FunctionType = given
        self.name = given.__name__
        self.place = place_of(given, graph.base)
        flags = given.__code__.co_flags
        if flags & _GENERATORS:
            raise GraphError(f"{self.place}: {self.name} has a yield: use `async def` and await need(…)")
        self.is_async = bool(flags & _COROUTINE)
        self.made: list[tuple[Mapping[str, str], Node]] = []
        self._handles: dict[bytes, Handle] = {}
        self.__name__, self.__doc__, self.__module__ = given.__name__, given.__doc__, given.__module__
        self.__qualname__ = given.__qualname__
        self.__wrapped__ = given
        try:
            require_names(given, ignore=(), templates=templates)
        except UsageError as error:
            raise GraphError(f"{self.place}: {error}") from None

    @abstractmethod
    def make(self, asked: Asked) -> tuple[Node, Handle]:
        """The node of a call that was not made before, and its handle."""

    def ask(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Handle:
        """The handle of a call.

        Raises:
            GraphError: arguments that the function does not take, or that have no identity.
        """
        try:
            bound = bind(self.function, args, kwargs)
        except TypeError as error:
            raise GraphError(f"{caller(self.graph.base)}: {error} ({self.name} is at {self.place})") from None
        try:
            known = b"".join(identity(value, where=f"argument {name!r}") for name, value in bound.items())
        except FingerprintError as error:
            # A node's arguments all count: there is no `ignore` here.
            said = _IGNORE.sub("", str(error))
            raise GraphError(f"{caller(self.graph.base)}: {self.name}: {said}") from None
        handle = self._handles.get(known)
        if handle is not None:
            return handle
        # What is changed later in place is not what was called with.
        args, kwargs = _copied(args), {name: _copied(value) for name, value in kwargs.items()}
        with self.graph.lock, self.graph.writing():  # a call may come from a value's thread
            handle = self._handles.get(known)
            if handle is None:
                node, handle = self.make(self._asked(args, kwargs, bind(self.function, args, kwargs)))
                self.graph.calls[node] = self.name, args, kwargs
                self._handles[known] = handle
        return handle

    def __vcache_bare__(self) -> Handle:
        """What a call without arguments gives."""
        missing = self._required()
        if missing:
            raise GraphError(
                f"{caller(self.graph.base)}: {self.name} ({self.place}) needs {', '.join(missing)}: call it"
            )
        return self.ask((), {})

    def bare(self) -> Node | None:
        """The node of a call without arguments; None if it needs some."""
        return None if self._required() else self.ask((), {}).node

    def spelled(self, arguments: Mapping[str, str]) -> Node:
        """The node of a call with arguments as they are written on a command line.

        Raises:
            GraphError: the function has no such parameter, or takes no such value.
        """
        code = self.function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        for name in arguments:
            if name not in names:
                from vcache.kit.names import did_you_mean

                raise GraphError(
                    f"{self.name} ({self.place}) has no parameter {name!r}{did_you_mean(name, names)}"
                )
        annotations = self.function.__annotations__
        values = {name: self._read(name, text, annotations.get(name)) for name, text in arguments.items()}
        return self.ask((), values).node

    def again(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Node:
        """The node of a call."""
        return self.ask(args, kwargs).node

    def fill(self, template: str, bound: Mapping[str, object]) -> str:
        """A template with its parameters.

        Raises:
            GraphError: it asks for what is not there, or not there yet.
        """
        if "{" not in template and "}" not in template:
            return template
        try:
            return Words(bound).fill(template)
        except GraphError as error:
            raise GraphError(f"{self.place}: {template!r}: {error}") from None
        except UsageError as error:
            raise GraphError(f"{self.place}: {error}") from None

    def unique_name(self, shown: Mapping[str, str]) -> str:
        """The name of a node without outputs."""
        inner = ", ".join(f"{name}={text}" for name, text in shown.items())
        name = f"{self.name}({inner})" if inner else self.name
        number = 2
        while name in self.graph.nodes:
            name, number = f"{self.name}({inner})#{number}", number + 1
        return name

    def _asked(
        self, args: tuple[object, ...], kwargs: Mapping[str, object], bound: Mapping[str, object]
    ) -> Asked:
        inputs = Inputs()
        inputs.take(bound)
        usual = self._defaults()
        shown = {
            name: _shown(value)
            for name, value in bound.items()
            if not (name in usual and usual[name] is value) and not _is_empty_rest(name, value, self.function)
        }
        return Asked(args, kwargs, bound, shown, inputs)

    def _defaults(self) -> dict[str, object]:
        code, defaults = self.function.__code__, self.function.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        return {**dict(zip(names, defaults, strict=True)), **(self.function.__kwdefaults__ or {})}

    def _required(self) -> list[str]:
        code = self.function.__code__
        usual = self._defaults()
        return [n for n in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if n not in usual]

    def _read(self, name: str, text: str, annotation: object) -> object:
        kind = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
        reader = _READERS.get(kind.rpartition(".")[2])
        if annotation is None:
            usual = self._defaults().get(name)
            reader = _READERS.get(type(usual).__name__, str)
        if reader is None:
            raise GraphError(f"{self.name}[{name}={text}]: a {kind} cannot be written on a command line")
        try:
            return reader(text)
        except ValueError:
            raise GraphError(f"{self.name}[{name}={text}]: {text!r} is no {kind}") from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def _copied(value: Any) -> Any:
    """A value whose containers are its own."""
    if type(value) in (list, tuple, set):
        return type(value)(map(_copied, value))
    if type(value) is dict:
        return {key: _copied(each) for key, each in value.items()}
    return value


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "1")


_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "str": str, "int": int, "float": float, "bool": _boolean, "File": File, "Dir": Dir,
}  # fmt: skip


def _is_empty_rest(name: str, value: object, function: FunctionType) -> bool:
    """Whether it is `*args` or `**kwargs`, and there are none."""
    code = function.__code__
    return name not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] and not value


def _shown(value: object) -> str:
    """An argument as people write it: paths bare, the rest as Python does."""
    if isinstance(value, Target | Promise):
        return value.node.name
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, cast('Any', value)))}]"
    if isinstance(value, int | float | None):
        return str(value)
    text = repr(value)
    if len(text) > _TEXT_CHARS or " at 0x" in text:
        return f"{type(value).__name__}-{identity(value).hex()[-8:]}"
    return text


def as_seconds(value: float | str | None, place: str, option: str) -> float | None:
    """A duration option.

    Raises:
        GraphError: it is none.
    """
    try:
        return None if value is None else seconds(value)
    except UsageError as error:
        raise GraphError(f"{place}: {option}: {error}") from None


def as_bytes(value: float | str | None, place: str, option: str) -> int:
    """A size option; 0 for none.

    Raises:
        GraphError: it is none.
    """
    try:
        return 0 if value is None else size_bytes(value)
    except UsageError as error:
        raise GraphError(f"{place}: {option}: {error}") from None
