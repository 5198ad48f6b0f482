"""Does a payload fit a function's parameters? msgspec says it, by their annotations.

It must not know what the function does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from vcache.errors import ConfigError, UsageError
from vcache.jobs.models import Payload

if TYPE_CHECKING:
    from inspect import Parameter, Signature

__all__ = ["PayloadUnfit", "checker"]

_NOTHING: Final[Mapping[str, object]] = {}


class PayloadUnfit(UsageError):
    """A payload does not fit the parameters of its handler. The message says where, and what was expected."""


def checker(kind: str, function: Callable[..., object]) -> Callable[[Payload], Mapping[str, object]]:
    """What makes of a payload the arguments of a function, or raises `PayloadUnfit`.

    Raises:
        UsageError: the parameters cannot be filled from a payload.
        ConfigError: msgspec is not installed.
    """
    signature = _signature(kind, function)
    if not signature.parameters:
        return _takes_nothing
    try:
        import msgspec
    except ImportError:
        raise ConfigError(
            f"job {kind!r}: its payload is checked by msgspec: python -m pip install 'vcache[jobs]'"
        ) from None
    fields, is_open = _fields(kind, signature)
    shape: Any = _shape(kind, fields)
    known = frozenset(fields)
    convert, wrong = msgspec.convert, msgspec.ValidationError
    try:
        convert({}, shape)
    except wrong:
        pass
    except TypeError as error:
        raise UsageError(
            f"job {kind!r}: a payload cannot be checked against its parameters: {error}"
        ) from None

    def checked(payload: Payload) -> Mapping[str, object]:
        if not known.issuperset(payload) and not is_open:
            raise PayloadUnfit(_unknown(payload, known))
        try:
            found: dict[str, object] = convert(payload, shape)
        except wrong as error:
            raise PayloadUnfit(str(error)) from None
        return {**payload, **found} if is_open else found

    return checked


def _takes_nothing(payload: Payload) -> Mapping[str, object]:
    if payload:
        raise PayloadUnfit(_unknown(payload, ()))
    return _NOTHING


def _unknown(payload: Payload, known: frozenset[str] | tuple[()]) -> str:
    from vcache.kit.names import did_you_mean

    name = next(str(each) for each in payload if each not in known)
    return f"Object contains unknown field `{name}`" + (did_you_mean(name, known) or "; it takes none")


def _signature(kind: str, function: Callable[..., object]) -> Signature:
    import inspect  # 10 ms, paid by who runs jobs

    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, AttributeError, SyntaxError, TypeError, ValueError) as error:
        raise UsageError(
            f"job {kind!r}: the parameters of {function!r:.120} are not to be understood: {error}; what annotations "
            "name must be imported when it runs, not for type checkers alone"
        ) from None


def _fields(kind: str, signature: Signature) -> tuple[dict[str, Parameter], bool]:
    """The parameters that a payload fills, and whether it may hold others."""
    fields: dict[str, Parameter] = {}
    is_open = False
    for name, each in signature.parameters.items():
        if each.kind is each.VAR_KEYWORD:
            is_open = True
        elif each.kind is each.POSITIONAL_ONLY:
            raise UsageError(f"job {kind!r}: {name!r} is positional-only: a payload has names")
        elif each.kind is not each.VAR_POSITIONAL:
            fields[name] = each
    return fields, is_open


def _shape(kind: str, fields: Mapping[str, Parameter]) -> object:
    from typing import NotRequired, Required, TypedDict

    annotations: dict[str, object] = {}
    for name, each in fields.items():
        hint = Any if each.annotation is each.empty else each.annotation
        is_needed = each.default is each.empty
        annotations[name] = Required[hint] if is_needed else NotRequired[hint]
    make: Any = TypedDict
    return make(f"Payload of {kind}", annotations)
