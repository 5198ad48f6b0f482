"""What a call returned or raised, as a value: to be handed to another thread, or looked at later.

It must not know what was called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar, cast

__all__ = ["Outcome"]

T = TypeVar("T")
D = TypeVar("D")


class Outcome(Generic[T]):
    """A value, or the error that there is instead.

    Attributes:
        error: None where there is a value.
    """

    __slots__ = ("_value", "error")

    def __init__(self, value: T | None, error: BaseException | None = None) -> None:
        self._value = value
        self.error: Final = error

    @classmethod
    def of(cls, work: Callable[[], T]) -> Outcome[T]:
        """What a call gives. It raises nothing: who asks for the value judges the error."""
        try:
            value = work()
        except BaseException as error:  # also what ends a thread: somebody waits for an answer
            return cls(None, error)
        return cls(value)

    def get(self) -> T:
        """The value, or the error raised."""
        if self.error is not None:
            raise self.error
        return cast("T", self._value)

    def get_or(self, default: D) -> T | D:
        """The value, or another one in place of an error."""
        return cast("T", self._value) if self.error is None else default

    def __repr__(self) -> str:
        return f"Outcome({self._value!r})" if self.error is None else f"Outcome(error={self.error!r})"
