"""Dataclasses and named tuples that cost next to nothing to define.

`dataclasses` takes 5 ms to import and 0.6 ms for each frozen class with slots, as it compiles its methods
from text; a command that lives for 50 ms defines thirty. Here methods are closures over C getters, and
`__init__` is compiled when the first instance is made. To a type checker, and to `dataclasses.fields`,
`replace`, `is_dataclass` and subclasses, these are dataclasses.

`typing.NamedTuple` compiles each annotation, and the first one of a process takes 1 ms to begin with; here
annotations are left alone, and `__new__` is compiled when the first instance is made.

Left out, since nobody here needs it: InitVar, `KW_ONLY`, `init=False`, and parents made by `dataclasses`.
It must not know which classes these are.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]  # as `collections` has it
from _operator import attrgetter  # `operator` wraps it, at 0.2 ms
from types import MemberDescriptorType

TYPE_CHECKING = False  # importing typing costs 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from dataclasses import dataclass, field, replace
    from typing import Any, Final, NamedTuple, NoReturn, Self

__all__ = ["NamedTuple", "dataclass", "field", "names_of", "replace"]

_OWN: Final = "__vcache_fields__"
_COMPILE: Final = "_vcache_compile"


class _Unset:
    def __repr__(self) -> str:
        return "<factory>"


_UNSET: Final = _Unset()


class _Field:
    __slots__ = ("annotation", "default", "factory", "is_compared", "is_keyword", "is_shown", "name")

    def __init__(self, default: object = _UNSET, factory: object = _UNSET) -> None:
        self.name, self.annotation = "", ""
        self.default, self.factory = default, factory
        self.is_compared = self.is_shown = True
        self.is_keyword = False


def _field(
    *,
    default: object = _UNSET,
    default_factory: object = _UNSET,
    compare: bool = True,
    repr: bool = True,  # noqa: A002 - as in dataclasses
) -> _Field:
    made = _Field(default, default_factory)
    made.is_compared, made.is_shown = compare, repr
    return made


def _dataclass(
    cls: type | None = None,
    /,
    *,
    frozen: bool = False,
    slots: bool = False,
    eq: bool = True,
    order: bool = False,
    kw_only: bool = False,
) -> Any:
    def made(cls: type) -> type:
        own = _declared(cls, is_keyword=kw_only)
        inherited: dict[str, _Field] = {}
        for base in reversed(cls.__mro__[1:]):
            inherited.update(base.__dict__.get(_OWN, {}))
        fields = inherited | own
        if slots:
            cls = _slotted(cls, [name for name in own if name not in inherited])
        methods: dict[str, object] = {
            "__init__": _first_init(cls),
            "__match_args__": tuple(name for name, each in fields.items() if not each.is_keyword),
            "__repr__": _repr([name for name, each in fields.items() if each.is_shown]),
        }
        compared = _getter([name for name, each in fields.items() if each.is_compared])
        if eq:
            methods["__eq__"] = _eq(compared)
        if order:
            methods |= _order(compared)
        if frozen:
            methods |= _frozen(cls, frozenset(fields))
            if slots:
                methods |= {"__getstate__": _state, "__setstate__": _set_state}
            if eq and ("__eq__" in cls.__dict__ or cls.__dict__.get("__hash__") is None):
                _set_hash(cls, compared)
        for name, method in methods.items():
            if name not in cls.__dict__:
                setattr(cls, name, method)
        if eq and not frozen and "__hash__" not in cls.__dict__:
            cls.__hash__ = None  # type: ignore[assignment]  # what can change has none
        setattr(cls, _OWN, fields)
        setattr(cls, "__signature__", _SIGNATURE)  # noqa: B010 - to mypy it is none of a class's
        params: dict[str, Any] = {"frozen": frozen, "eq": eq, "order": order, "kw_only": kw_only}
        for name in ("__dataclass_fields__", "__dataclass_params__"):
            setattr(cls, name, _Late(name, cls, params))
        return cls

    return made if cls is None else made(cls)


def _set_hash(cls: type, compared: Callable[[object], object]) -> None:
    if cls.__dict__.get("__hash__") is not None:
        return

    def __hash__(self: object) -> int:  # noqa: N807
        return hash(compared(self))

    cls.__hash__ = __hash__  # type: ignore[method-assign,assignment]


def _declared(cls: type, *, is_keyword: bool) -> dict[str, _Field]:
    """The fields that a class body declares; their defaults stay in the class, as in dataclasses."""
    found: dict[str, _Field] = {}
    for name, annotation in cls.__dict__.get("__annotations__", {}).items():  # noqa: RUF063 - `inspect` is most of what `dataclasses` costs
        if "ClassVar" in str(annotation).partition("[")[0]:
            continue
        each = cls.__dict__.get(name, _UNSET)
        if not isinstance(each, _Field):
            each = _Field(each)
        elif each.default is _UNSET:
            delattr(cls, name)
        else:
            setattr(cls, name, each.default)
        each.name, each.annotation, each.is_keyword = name, annotation, is_keyword
        found[name] = each
    return found


def _slotted(cls: type, names: Iterable[str]) -> type:
    """The class once more: slots are laid out when a class is made."""
    names = tuple(names)
    left_out = {*names, "__dict__", "__weakref__"}
    namespace = {name: value for name, value in cls.__dict__.items() if name not in left_out}
    made = type(cls)(cls.__name__, cls.__bases__, namespace | {"__slots__": names})
    made.__qualname__ = cls.__qualname__
    return made


# --- methods ---------------------------------------------------------------------------------


def _first_init(cls: type) -> Callable[..., None]:
    def compiled() -> Callable[..., None]:
        made = _compiled_init(cls)
        cls.__init__ = made  # type: ignore[misc]  # by several threads at once: the same
        return made

    def __init__(self: object, *args: object, **kwargs: object) -> None:  # noqa: N807
        compiled()(self, *args, **kwargs)

    setattr(__init__, _COMPILE, compiled)
    return __init__


def _compiled_init(cls: type) -> Callable[..., None]:
    fields: dict[str, _Field] = getattr(cls, _OWN)
    known: dict[str, object] = {"_unset": _UNSET, "_set": object.__setattr__}
    words, keywords, body = ["self"], list[str](), list[str]()
    for name, each in fields.items():
        word = value = name
        if each.factory is not _UNSET:
            known[f"_make_{name}"] = each.factory
            word, value = f"{name}=_unset", f"_make_{name}() if {name} is _unset else {name}"
        elif each.default is not _UNSET:
            known[f"_default_{name}"] = each.default
            word = f"{name}=_default_{name}"
        (keywords if each.is_keyword else words).append(word)
        slot = getattr(cls, name, None)
        if isinstance(slot, MemberDescriptorType):  # three quarters of what `object.__setattr__` takes
            known[f"_set_{name}"] = slot.__set__
            body.append(f" _set_{name}(self, {value})")
        else:
            body.append(f" _set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append(" self.__post_init__()")
    text = ", ".join([*words, "*", *keywords] if keywords else words)
    exec(f"def __init__({text}):\n" + ("\n".join(body) or " pass"), known)  # noqa: S102 - as dataclasses does, from names of a class body
    made: Any = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__annotations__ = {name: each.annotation for name, each in fields.items()} | {"return": None}
    return made  # type: ignore[no-any-return]


def _getter(names: list[str]) -> Callable[[object], Any]:
    return attrgetter(*names) if names else lambda _: ()


def _repr(names: list[str]) -> Callable[[object], str]:
    def __repr__(self: object) -> str:  # noqa: N807
        words = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        return f"{self.__class__.__qualname__}({words})"

    return __repr__


def _eq(compared: Callable[[object], object]) -> Callable[[object, object], bool]:
    def __eq__(self: object, other: object) -> bool:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return compared(self) == compared(other)

    return __eq__


def _order(compared: Callable[[object], Any]) -> dict[str, object]:
    def __lt__(self: object, other: object) -> bool:  # noqa: N807
        return compared(self) < compared(other) if other.__class__ is self.__class__ else NotImplemented

    def __le__(self: object, other: object) -> bool:  # noqa: N807
        return compared(self) <= compared(other) if other.__class__ is self.__class__ else NotImplemented

    def __gt__(self: object, other: object) -> bool:  # noqa: N807
        return compared(self) > compared(other) if other.__class__ is self.__class__ else NotImplemented

    def __ge__(self: object, other: object) -> bool:  # noqa: N807
        return compared(self) >= compared(other) if other.__class__ is self.__class__ else NotImplemented

    return {each.__name__: each for each in (__lt__, __le__, __gt__, __ge__)}


def _frozen(cls: type, names: frozenset[str]) -> dict[str, object]:
    def refuse(doing: str, name: str) -> NoReturn:
        from dataclasses import FrozenInstanceError  # 5 ms, for who made a mistake

        raise FrozenInstanceError(f"cannot {doing} field {name!r}")

    def __setattr__(self: object, name: str, value: object) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            refuse("assign to", name)
        super(cls, self).__setattr__(name, value)  # type: ignore[arg-type]  # of a subclass

    def __delattr__(self: object, name: str) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            refuse("delete", name)
        super(cls, self).__delattr__(name)  # type: ignore[arg-type]

    return {"__setattr__": __setattr__, "__delattr__": __delattr__}


def _state(self: object) -> list[object]:
    return [getattr(self, name) for name in getattr(self, _OWN)]


def _set_state(self: object, state: list[object]) -> None:
    for name, value in zip(getattr(self, _OWN), state, strict=True):
        object.__setattr__(self, name, value)


# --- to `dataclasses` ------------------------------------------------------------------------


class _Late:
    """What `dataclasses` keeps in a class, made when somebody looks."""

    def __init__(self, name: str, cls: type, params: dict[str, Any]) -> None:
        self._name, self._cls, self._params = name, cls, params

    def __get__(self, instance: object, owner: type | None = None) -> object:
        import dataclasses

        rows: list[Any] = []
        for name, each in getattr(self._cls, _OWN).items():
            given: dict[str, Any] = {"compare": each.is_compared, "repr": each.is_shown}
            given["kw_only"] = each.is_keyword
            if each.factory is not _UNSET:
                given["default_factory"] = each.factory
            elif each.default is not _UNSET:
                given["default"] = each.default
            rows.append((name, each.annotation, dataclasses.field(**given)))
        twin = dataclasses.make_dataclass(self._cls.__name__, rows, **self._params)
        for name in ("__dataclass_fields__", "__dataclass_params__"):
            setattr(self._cls, name, getattr(twin, name))
        return getattr(twin, self._name)


class _Signature:
    """Has what makes instances compiled before `inspect` looks at it, and is not there itself."""

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        for maker in (getattr(owner, "__init__", None), getattr(owner, "__new__", None)):
            compiled = getattr(maker, _COMPILE, None)
            if compiled is not None:
                compiled()
        raise AttributeError("__signature__")


_SIGNATURE: Final = _Signature()


def names_of(cls: type) -> tuple[str, ...]:
    """The names of a class's fields, in order; `dataclasses.fields` for more."""
    return tuple(getattr(cls, _OWN))


def _replace(instance: Any, /, **changes: object) -> Any:
    known = getattr(type(instance), _OWN)
    return type(instance)(**{name: getattr(instance, name) for name in known} | changes)


# --- named tuples ----------------------------------------------------------------------------


class _Tuples(type):
    """Makes of a class body with fields a subclass of tuple."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:  # noqa: ARG004 - they are always the same
        fields = tuple(namespace.get("__annotations__", {}))
        defaults = {each: namespace.pop(each) for each in fields if each in namespace}
        for number, each in enumerate(fields):
            namespace[each] = _tuplegetter(number, f"Alias for field number {number}")
        known = dict.fromkeys(("_replace", "_asdict", "__repr__", "__getnewargs__"))
        namespace = {each: _TupleMethods.__dict__[each] for each in known} | namespace
        namespace |= {"__slots__": (), "_fields": fields, "_field_defaults": defaults}
        namespace |= {"__match_args__": fields, "_make": classmethod(tuple.__new__)}

        def compiled() -> Callable[..., object]:
            made.__new__ = new = staticmethod(_compiled_new(made))
            return new

        def __new__(cls: type, *args: object, **kwargs: object) -> object:  # noqa: N807
            return compiled()(cls, *args, **kwargs)

        setattr(__new__, _COMPILE, compiled)
        namespace["__signature__"] = _SIGNATURE
        made: Any = type(name, (tuple,), namespace | {"__new__": __new__})
        return made


class _TupleMethods(tuple[object, ...]):
    __slots__ = ()
    _fields: tuple[str, ...]
    _make: Callable[[Iterable[object]], Self]

    def _replace(self, /, **changes: object) -> Self:
        made = self._make(map(changes.pop, self._fields, self))
        if changes:
            raise ValueError(f"Got unexpected field names: {list(changes)!r}")
        return made

    def _asdict(self) -> dict[str, object]:
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        words = ", ".join([f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True)])
        return f"{self.__class__.__name__}({words})"

    def __getnewargs__(self) -> tuple[object, ...]:
        return tuple(self)


def _compiled_new(cls: Any) -> Callable[..., object]:
    known: dict[str, object] = {f"_default_{name}": value for name, value in cls._field_defaults.items()}
    known["_new"] = tuple.__new__
    words = [f"{name}=_default_{name}" if name in cls._field_defaults else name for name in cls._fields]
    comma = "," if len(words) == 1 else ""
    text = f"def __new__({', '.join(['_cls', *words])}): return _new(_cls, ({', '.join(cls._fields)}{comma}))"
    exec(text, known)  # noqa: S102 - as `collections` does
    made: Any = known["__new__"]
    made.__qualname__ = f"{cls.__qualname__}.__new__"
    made.__annotations__ = dict(cls.__dict__.get("__annotations__", {}))  # noqa: RUF063 - as above
    return made  # type: ignore[no-any-return]


class _NamedTuple:
    """What stands among the bases of a class that is to be a named tuple."""

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        return (_BASE,)


_BASE: Final = type.__new__(_Tuples, "NamedTuple", (), {})

if not TYPE_CHECKING:
    NamedTuple = _NamedTuple()
    dataclass, field, replace = _dataclass, _field, _replace
