"""Arguments: which value a call gives to which parameter, and what identifies that value.

However a call is spelled, equal arguments bind equally; however a value was built, equal
content of one type has one identity. Knows nothing of steps, keys or stores.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Final

from vcache.errors import FingerprintError, UsageError
from vcache.fingerprint.terms import Unfit, seal
from vcache.fingerprint.values import LEAVES, Walk

if TYPE_CHECKING:
    from inspect import Parameter

__all__ = ["Binder", "bind", "binder", "identity"]

Binder = Callable[[tuple[object, ...], Mapping[str, object]], dict[str, object]]
"""Turns the arguments of a call into parameter names and values."""

_EXCERPT_CHARS: Final = 80
_PARAMETER: Final = re.compile(r"argument '(\w+)'")
_VARARGS, _VARKEYWORDS = 0x04, 0x08


def identity(value: object, *, where: str = "value", walk: Walk | None = None) -> bytes:
    """The bytes that identify a value by type and content: at most 32, the same everywhere.

    Python functions count by name and by what they run themselves, other callables and classes
    by name. An object of a class of its own counts by what its `__vcache_key__()` returns.

    Args:
        value: anything built from None, numbers, text, bytes, containers, dates, paths, enums,
            dataclasses, named tuples, functions, classes, arrays and tables.
        where: what the value is, as an error says it, such as "argument 'src'".
        walk: encoders of the caller's own; the common ones by default.

    Raises:
        FingerprintError: the value, or a part of it, has no stable identity.
    """
    leaf = LEAVES.get(type(value))
    try:
        if leaf is not None:
            return seal(leaf(value, _NO_WALK))
        return seal((walk or Walk()).encode(value))
    except Unfit as error:
        raise FingerprintError(_complaint(error, where)) from None
    except RecursionError:
        raise FingerprintError(f"{where} is nested too deep to be fingerprinted: {_excerpt(value)}") from None


# Leaves never look at the walk they are given.
_NO_WALK: Final = Walk()


def _complaint(error: Unfit, where: str) -> str:
    cls = type(error.value)
    parameter = _PARAMETER.match(where)
    ignored = f'leave it out with ignore=("{parameter[1]}",), or ' if parameter else ""
    return (
        f"{where}{''.join(error.path)} {error.reason}: {cls.__module__}.{cls.__qualname__} "
        f"{_excerpt(error.value)}. To use it, {ignored}give its class a __vcache_key__() method "
        "that returns what identifies it"
    )


def _excerpt(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # whatever a foreign __repr__ raises, the complaint must come out
        text = object.__repr__(value)
    return text if len(text) <= _EXCERPT_CHARS else text[: _EXCERPT_CHARS - 1] + "…"


def bind(
    func: Callable[..., object],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    *,
    ignore: tuple[str, ...] = (),
) -> dict[str, object]:
    """The value of every parameter of a call, defaults included.

    Positional, keyword and left-out-because-default spellings of one call give equal results.
    Surplus positional arguments are a tuple under the name of `*args`, surplus keywords a dict
    under that of `**kwargs`; the `self` of a bound method comes first.

    Args:
        func: what is called.
        ignore: parameters to leave out of the result; also names that `**kwargs` would take.

    Raises:
        TypeError: the call is wrong, in Python's own words.
        UsageError: `ignore` names what the function does not take.
    """
    if not isinstance(func, FunctionType):
        return binder(func, ignore=ignore)(args, kwargs)
    known = _binders.setdefault(func, {})
    bound = known.get(ignore)
    if bound is None:
        bound = known[ignore] = binder(func, ignore=ignore)
    return bound(args, kwargs)


_binders: weakref.WeakKeyDictionary[FunctionType, dict[tuple[str, ...], Binder]] = weakref.WeakKeyDictionary()


def binder(func: Callable[..., object], *, ignore: tuple[str, ...] = ()) -> Binder:
    """A prepared `bind` of one function, for who binds many calls of it.

    Raises:
        UsageError: `ignore` names what the function does not take, or it has no signature.
    """
    if isinstance(func, MethodType):
        inner, owner = binder(func.__func__, ignore=ignore), func.__self__
        return lambda args, kwargs: inner((owner, *args), kwargs)
    wrapped = isinstance(func, FunctionType) and (
        hasattr(func, "__wrapped__") or hasattr(func, "__signature__")
    )
    if isinstance(func, FunctionType) and not wrapped:
        return _Twin.of_function(func, ignore)
    return _of_signature(func, ignore)


class _Twin:
    """A function with the parameters of another one, that returns them as a dict.

    Python itself binds the call, in 0.3 µs where `inspect.Signature.bind` takes 5, and complains
    about a wrong one in its usual words. The twin is made by giving the code of `return locals()`
    another list of parameters: nothing is compiled from text.
    """

    __slots__ = ("_call", "_code", "_defaults", "_func", "_ignore", "_keywords", "_kwdefaults")

    def __init__(self, code: CodeType, ignore: tuple[str, ...]) -> None:
        self._call = FunctionType(code, {"locals": locals})
        self._code: CodeType | None = None
        self._func: weakref.ref[FunctionType] | None = None
        self._defaults: object = None
        self._kwdefaults: object = None
        self._keywords = _keywords_name(code)
        self._ignore = _checked(ignore, code, self._keywords)

    @classmethod
    def of_function(cls, func: FunctionType, ignore: tuple[str, ...]) -> Binder:
        """A binder that follows the function also when its defaults or its code are replaced."""
        twin = cls(_twin_code(func.__code__), ignore)
        twin._func = weakref.ref(func)  # a binder kept in a cache must not keep the function
        twin._follow(func)
        return twin.bind

    @classmethod
    def of_parameters(cls, code: CodeType, params: list[Parameter], ignore: tuple[str, ...]) -> Binder:
        """A binder for parameters that a signature describes."""
        twin = cls(code, ignore)
        given = [p for p in params if p.default is not p.empty]
        twin._call.__defaults__ = tuple(p.default for p in given if p.kind is not p.KEYWORD_ONLY)
        twin._call.__kwdefaults__ = {p.name: p.default for p in given if p.kind is p.KEYWORD_ONLY}
        return twin.bind

    def _follow(self, func: FunctionType) -> None:
        if self._code is not func.__code__:
            self._code = func.__code__
            self._call.__code__ = _twin_code(func.__code__)
            self._keywords = _keywords_name(self._call.__code__)
        self._defaults = self._call.__defaults__ = func.__defaults__
        self._kwdefaults = self._call.__kwdefaults__ = func.__kwdefaults__

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """The parameters of one call."""
        func = self._func() if self._func is not None else None
        if func is not None and not (
            func.__code__ is self._code
            and func.__defaults__ is self._defaults
            and func.__kwdefaults__ is self._kwdefaults
        ):
            self._follow(func)
        bound: dict[str, object] = self._call(*args, **kwargs)
        if self._ignore:
            surplus = bound.get(self._keywords) if self._keywords else None
            for name in self._ignore:
                bound.pop(name, None)
                if isinstance(surplus, dict):
                    surplus.pop(name, None)
        return bound


def _all() -> dict[str, object]:
    return locals()


_TEMPLATE: Final = _all.__code__


def _twin_code(code: CodeType) -> CodeType:
    flags = code.co_flags & (_VARARGS | _VARKEYWORDS)
    count = code.co_argcount + code.co_kwonlyargcount + bool(flags & _VARARGS) + bool(flags & _VARKEYWORDS)
    return _TEMPLATE.replace(
        co_argcount=code.co_argcount,
        co_posonlyargcount=code.co_posonlyargcount,
        co_kwonlyargcount=code.co_kwonlyargcount,
        co_varnames=code.co_varnames[:count],
        co_nlocals=count,
        co_flags=_TEMPLATE.co_flags | flags,
        co_name=code.co_name,
        co_qualname=code.co_qualname,
    )


def _keywords_name(code: CodeType) -> str | None:
    return code.co_varnames[-1] if code.co_flags & _VARKEYWORDS else None


def _checked(ignore: tuple[str, ...], code: CodeType, keywords: str | None) -> tuple[str, ...]:
    given: object = ignore
    if isinstance(given, str):
        raise UsageError(f"ignore={ignore!r} is text: give a tuple of parameter names, ({ignore!r},)")
    unknown = [name for name in ignore if name not in code.co_varnames]
    if unknown and keywords is None:
        takes = ", ".join(code.co_varnames) or "none"
        raise UsageError(
            f"ignore={ignore!r}: {code.co_qualname}() has no parameter {unknown[0]!r} (it has: {takes})"
        )
    return tuple(ignore)


def _of_signature(func: Callable[..., object], ignore: tuple[str, ...]) -> Binder:
    """For callables whose parameters another object tells: wrappers, partials, classes, builtins."""
    import inspect  # 12 ms to import: only for callables that are not plain functions

    try:
        params = list(inspect.signature(func).parameters.values())
    except (TypeError, ValueError):
        raise UsageError(f"{func!r:.80} has no signature to bind arguments to: wrap it in a def") from None
    name = getattr(func, "__qualname__", type(func).__name__)
    bound = _Twin.of_parameters(_code_for(name, params), params, ignore)
    if not isinstance(func, FunctionType):
        return bound
    own = _Twin.of_function(func, ignore)

    def either(args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        try:
            return bound(args, kwargs)
        except TypeError:
            # A wrapper may supply arguments of its own: then what it takes itself counts.
            try:
                return own(args, kwargs)
            except TypeError:
                pass
            raise

    return either


def _code_for(name: str, params: list[Parameter]) -> CodeType:
    """The twin's code for parameters in the order of a signature."""
    order = {
        "POSITIONAL_ONLY": 0,
        "POSITIONAL_OR_KEYWORD": 1,
        "KEYWORD_ONLY": 2,
        "VAR_POSITIONAL": 3,
        "VAR_KEYWORD": 4,
    }
    kinds = [param.kind.name for param in params]
    names = tuple(param.name for param in sorted(params, key=lambda param: order[param.kind.name]))
    flags = _VARARGS * ("VAR_POSITIONAL" in kinds) | _VARKEYWORDS * ("VAR_KEYWORD" in kinds)
    return _TEMPLATE.replace(
        co_argcount=kinds.count("POSITIONAL_ONLY") + kinds.count("POSITIONAL_OR_KEYWORD"),
        co_posonlyargcount=kinds.count("POSITIONAL_ONLY"),
        co_kwonlyargcount=kinds.count("KEYWORD_ONLY"),
        co_varnames=names,
        co_nlocals=len(names),
        co_flags=_TEMPLATE.co_flags | flags,
        co_name=name.rpartition(".")[2],
        co_qualname=name,
    )
