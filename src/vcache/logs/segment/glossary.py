"""Different texts, one behind the other, read one by one: a dictionary of thousands, of which a query needs few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

from vcache.errors import DecodeError
from vcache.query.syntax import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Glossary"]


class Glossary(Sequence[Value]):
    """Texts, each with a NUL behind it, and None as the last value.

    Raises:
        DecodeError: not so many texts, or they are no UTF-8.
    """

    __slots__ = ("_data", "_ends", "n_texts")

    def __init__(self, data: bytes, n_texts: int) -> None:
        if data.count(b"\0") != n_texts or (data and data[-1]):
            raise DecodeError(f"a dictionary that does not hold {n_texts} texts")
        if not data.isascii():
            try:
                data.decode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                raise DecodeError(f"a dictionary that is no text: {error}") from None
        self._data, self.n_texts = data, n_texts
        self._ends: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self.n_texts + 1

    @overload
    def __getitem__(self, place: int) -> Value: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Value]: ...

    def __getitem__(self, place: int | slice) -> Value | Sequence[Value]:
        if isinstance(place, slice):
            return list(self)[place]
        if place == self.n_texts:
            return None
        ends = self._ends
        if ends is None:
            import numpy as np

            ends = self._ends = np.flatnonzero(np.frombuffer(self._data, np.uint8) == 0)
        begin = int(ends[place - 1]) + 1 if place else 0
        return self._data[begin : int(ends[place])].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[Value]:
        yield from self._data.decode("utf-8", "surrogatepass").split("\0")[:-1]
        yield None

    def place_of(self, text: str) -> int | None:
        """The place of a text; None where it is not among them."""
        wanted = text.encode("utf-8", "surrogatepass") + b"\0"
        if b"\0" in wanted[:-1]:
            return None
        if self._data.startswith(wanted):
            return 0
        at = self._data.find(b"\0" + wanted)
        return None if at < 0 else self._data.count(b"\0", 0, at + 1)
