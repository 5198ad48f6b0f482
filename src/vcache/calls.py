"""Calls of a step: what identifies one, in full and, within this process, in short.

It knows arguments and fingerprints, and nothing of results.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from vcache.entry import Dep, Key
from vcache.errors import UsageError
from vcache.fingerprint import inputs
from vcache.fingerprint.arguments import identity
from vcache.fingerprint.values import TABLE, Walk
from vcache.kit.data import dataclass, field

if TYPE_CHECKING:
    from vcache.fingerprint.code import CodePrint
    from vcache.fingerprint.inputs import Spec
    from vcache.fingerprint.manifest import Manifest
    from vcache.fingerprint.observe import Observer

__all__ = ["Call", "Explanation", "Known", "Words", "argument", "require_names"]

_MEMO_MOST: Final = 4096
# Calls with longer arguments are found by their fingerprint: a table of them would fill the memory.
_MEMO_LONGEST_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a step, identified.

    Attributes:
        base: everything known before it runs.
        outs: names of the files it is to make, below the root.
        depfile: where it writes what it read, below the root.
    """

    base: Manifest
    outs: tuple[str, ...] = ()
    depfile: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What goes into the key of a call, in words.

    Attributes:
        key: the name under which the result is kept.
        lines: one per input.
        unseen: what the fingerprint cannot see.
    """

    key: str
    lines: tuple[str, ...]
    unseen: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        unseen = [f"not seen: {what}" for what in self.unseen]
        return "\n".join([self.key, *(f"  {line}" for line in (*self.lines, *unseen))])


class Known:
    """The calls of this process that need no more than their arguments to be found, for one state of the code.

    Told apart by type and value with `marshal`, which is never stored nor loaded: canonical
    identities are `fingerprint.arguments`' work.
    """

    __slots__ = ("_keys", "_keys_of_bytes", "print")

    def __init__(self, code: CodePrint) -> None:
        self.print = code
        self._keys: dict[bytes, Key] = {}
        # `marshal` writes a bytearray, an array or a view as if it were bytes.
        self._keys_of_bytes: dict[bytes, Key] = {}

    def find(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Key | None:
        """The key of a call, if it is known."""
        try:
            raw = marshal.dumps((args, kwargs), 2)  # type: ignore[arg-type]  # tried on whatever comes
        except ValueError:
            return None
        key = self._keys.get(raw)
        if key is None and self._keys_of_bytes:
            key = self._keys_of_bytes.get(raw)
            if key is not None and not _is_of(_WITH_BYTES, (args, kwargs)):
                return None
        return key

    def note(self, args: tuple[object, ...], kwargs: Mapping[str, object], key: Key) -> None:
        """Let a call be found."""
        if not _is_of(_WITH_BYTES, (args, kwargs)):
            return
        try:
            raw = marshal.dumps((args, kwargs), 2)  # type: ignore[arg-type]
        except ValueError:
            return
        keys = self._keys if _is_of(_WITHOUT_BYTES, (args, kwargs)) else self._keys_of_bytes
        if len(raw) <= _MEMO_LONGEST_BYTES:
            if len(keys) >= _MEMO_MOST:
                keys.clear()
            keys[raw] = key


_WITHOUT_BYTES: Final = frozenset({type(None), bool, int, float, complex, str})
_WITH_BYTES: Final = _WITHOUT_BYTES | {bytes}


def _is_of(leaves: frozenset[type], value: object) -> bool:
    """Whether a value is made of plain containers and of leaves of these types only."""
    kind = type(value)
    if kind in leaves:
        return True
    if kind is dict:
        items = cast("dict[object, object]", value)
        return all(_is_of(leaves, key) and _is_of(leaves, each) for key, each in items.items())
    if kind in (tuple, list, set, frozenset):
        return all(_is_of(leaves, each) for each in cast("Iterable[object]", value))
    return False


def argument(
    name: str,
    value: object,
    observer: Observer,
    code_of: Callable[[Callable[..., object]], tuple[Dep, ...]],
) -> list[Dep]:
    """What identifies the value of a parameter; a spec in it, however deep, stands for what it names.

    Args:
        code_of: the code that a function or class in it runs.

    Raises:
        FingerprintError: it has no identity, by name.
    """
    walk = _SpecWalk(observer, code_of)
    known = identity(value, where=f"argument {name!r}", walk=walk)
    return [Dep("arg", name, known, note=_shown(value)), *walk.found]


class _SpecWalk(Walk):
    """Encodes arguments with specs by their portable names, and collects what they stand for."""

    __slots__ = ("code_of", "found", "observer")

    def __init__(
        self, observer: Observer, code_of: Callable[[Callable[..., object]], tuple[Dep, ...]]
    ) -> None:
        super().__init__(_ENCODERS)
        self.observer, self.code_of = observer, code_of
        self.found: list[Dep] = []


def _encode_spec(spec: Spec, walk: Walk) -> bytes:
    """Which spec it is; what it names is observed beside, for a change to be laid at its door."""
    assert isinstance(walk, _SpecWalk)
    deps = walk.observer.observe(spec)
    walk.found += deps
    # The first names the spec itself; the rest are the files that a pattern matches.
    first = deps[0]
    # Of two values of one name that change places, only their order changes.
    content = first.identity if first.kind == "value" else b""
    return walk.encode(("spec", type(spec).__name__, first.kind, first.name, content))


def _encode_code(value: Callable[..., object], walk: Walk) -> bytes:
    """A function or class by itself; what it reaches is observed beside."""
    assert isinstance(walk, _SpecWalk)
    walk.found += walk.code_of(value)
    return TABLE[type(value)](value, walk)


_ENCODERS: Final[dict[type, Callable[[Any, Walk], bytes]]] = {
    **TABLE,
    **dict.fromkeys(get_args(inputs.Spec), _encode_spec),
    **dict.fromkeys((FunctionType, type), _encode_code),
}


class Words(dict[str, object]):
    """A step's arguments as its output templates may use them."""

    def __init__(self, bound: Mapping[str, object]) -> None:
        super().__init__(bound)
        self.known = sorted(bound)

    def fill(self, template: str) -> str:
        """The path that a template stands for.

        Raises:
            UsageError: it asks for what is not there.
        """
        try:
            return template.format_map(self)
        except (KeyError, AttributeError, IndexError, ValueError) as error:
            raise UsageError(
                f"the output {template!r} asks for {error}: it may use {', '.join(self.known)}"
            ) from None


def require_names(
    function: Callable[..., object], *, ignore: Iterable[str], templates: Iterable[str]
) -> None:
    """Refuse names of parameters that a function does not have, as far as its signature can be known.

    Args:
        ignore: parameters that do not count.
        templates: outputs that ask for parameters.

    Raises:
        UsageError: it has none of that name.
    """
    ignored, fields = tuple(ignore), [(one, name) for one in templates for name in _fields(one)]
    if not (ignored or fields):
        return
    from inspect import Parameter, signature  # 12 ms, for steps with such options only

    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):
        return  # said at the first call, where it matters
    of = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"
    takes = ", ".join(parameters) or "none"
    takes_any = any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())
    for name in ignored:
        if name not in parameters and not (takes_any or hasattr(function, "__wrapped__")):
            raise UsageError(f"{of}: ignore={ignored!r}: it has no parameter {name!r} (it has: {takes})")
    usable = [name for name in parameters if name not in ignored]
    for template, name in fields:
        if name not in usable and (name in ignored or not hasattr(function, "__wrapped__")):
            why = ", which is ignored" if name in ignored else ""
            may = ", ".join(usable) or "no parameter"
            raise UsageError(f"{of}: the output {template!r} asks for {name!r}{why}: it may use {may}")


def _fields(template: str) -> list[str]:
    """The parameters that a template asks for.

    Raises:
        UsageError: it is none, or has fields without a name.
    """
    if "{" not in template and "}" not in template:
        return []
    from string import Formatter

    try:
        asked = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise UsageError(f"the output {template!r} cannot be read: {error}; write {{{{ for a brace") from None
    names = [field.partition(".")[0].partition("[")[0] for field in asked]
    for name in names:
        if not name or name.isdecimal():
            raise UsageError(
                f"the output {template!r} asks by position ({{{name}}}), which cannot be used: "
                "name a parameter, such as {name}"
            )
    return names


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
