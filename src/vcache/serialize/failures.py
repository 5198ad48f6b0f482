"""Exceptions as values: what an exception consists of, and how it is raised again elsewhere.

It must not run code of a class it rebuilds: `__init__` of an exception may ask for other
arguments than it keeps, and may do anything. The part of the class that Python itself
brings is constructed from the arguments Python itself would pickle, then attributes are put
back. If the outcome does not say what the original said, it is a `StepError` that does.
"""

from __future__ import annotations

from types import GetSetDescriptorType, MemberDescriptorType
from typing import Final

from vcache.errors import DecodeError, EncodeError, StepError
from vcache.kit.data import dataclass
from vcache.serialize.classes import class_named, reference_to

__all__ = ["Described", "exception_from", "parts_of_exception", "parts_without_arguments"]

_MAX_TRACEBACK_CHARS: Final = 64 << 10
_NOTES: Final = "__notes__"
_RAISED_AT: Final = "vcache: remembered; it was first raised at\n"


def parts_of_exception(error: Exception) -> list[object]:
    """Reference, arguments, attributes, message and traceback of an exception."""
    cls = type(error)
    try:
        reference = reference_to(cls)
    except EncodeError:
        reference = ""
    reduced = _native_class(cls).__reduce__(error)  # unbound on purpose
    assert isinstance(reduced, tuple)
    state = dict(reduced[2]) if len(reduced) > 2 and reduced[2] else {}
    notes = [note for note in state.pop(_NOTES, ()) if not str(note).startswith(_RAISED_AT)]
    if notes:
        state[_NOTES] = notes
    return [reference, cls.__qualname__, tuple(reduced[1]), state, _text(error), _traceback(error)]


@dataclass(frozen=True, slots=True)
class Described:
    """Stands in for an exception that holds what no codec takes."""

    error: Exception


def parts_without_arguments(error: Exception) -> list[object]:
    """What remains of an exception without its arguments: enough for a `StepError`."""
    return ["", type(error).__qualname__, (), {}, _text(error), _traceback(error)]


def exception_from(parts: list[object], *, allow_imports: bool) -> Exception:
    """The exception that consisted of these parts, or a `StepError` that says the same.

    Raises:
        DecodeError: these are not the parts of an exception.
    """
    reference, name, args, state, message, trace = _checked(parts)
    error = _rebuilt(reference, args, state, allow_imports=allow_imports)
    if error is None or _text(error) != message:
        error = StepError(f"{name}: {message}")
    if trace:
        error.add_note(_RAISED_AT + trace)
    return error


def _checked(parts: list[object]) -> tuple[str, str, tuple[object, ...], dict[str, object], str, str]:
    if len(parts) == 6:
        reference, name, args, state, message, trace = parts
        texts = (reference, name, message, trace)
        if (
            all(isinstance(text, str) for text in texts)
            and isinstance(args, tuple)
            and isinstance(state, dict)
        ):
            return str(reference), str(name), args, state, str(message), str(trace)
    raise DecodeError("these are not the parts of an exception")


def _rebuilt(
    reference: str, args: tuple[object, ...], state: dict[str, object], *, allow_imports: bool
) -> Exception | None:
    try:
        cls = class_named(reference, allow_imports=allow_imports)
    except DecodeError:
        return None
    if not issubclass(cls, Exception):
        return None
    native = _native_class(cls)
    try:
        error: object = native.__new__(cls, *args)
        native.__init__(error, *args)  # type: ignore[arg-type]  # unbound on purpose
        _put_back(error, native, state)
    except (TypeError, ValueError, AttributeError):
        return None
    return error if isinstance(error, Exception) else None


def _put_back(error: object, native: type, state: dict[str, object]) -> None:
    """Set attributes where they are kept, past any property or `__setattr__` of the user's."""
    for name, value in state.items():
        member = vars(native).get(name)
        if isinstance(member, (MemberDescriptorType, GetSetDescriptorType)):
            member.__set__(error, value)
        else:
            vars(error)[name] = value


def _native_class(cls: type) -> type[BaseException]:
    """The nearest base that Python itself defines: its methods are no one else's code."""
    for base in cls.__mro__:
        if issubclass(base, BaseException) and base.__module__ == "builtins":
            return base
    raise DecodeError(f"{cls.__qualname__} is no exception")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # a user's __str__ may fail in any way
        return f"<its text cannot be had: {type(broken).__name__}>"


def _traceback(error: BaseException) -> str:
    if error.__traceback__ is None:
        return ""
    import traceback  # 6 ms, and only a failure that is to be remembered comes here

    text = "".join(traceback.format_exception(error))
    return text if len(text) <= _MAX_TRACEBACK_CHARS else f"{text[:_MAX_TRACEBACK_CHARS]}…\n"
