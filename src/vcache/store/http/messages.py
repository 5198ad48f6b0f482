"""A request and an answer of HTTP, as data. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, Union

from vcache.kit.data import NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Answer", "Body", "Headers", "Request"]

# A body of several parts is sent as one, without being joined first.
Body: TypeAlias = Union["Buffer", "tuple[Buffer, ...]"]
Headers: TypeAlias = Iterable[tuple[str, str]]


class Request(NamedTuple):
    """What `HttpClient.many` sends. See `HttpClient.request`."""

    method: str
    target: str
    headers: Headers = ()
    body: Body | None = None
    limit_bytes: int | None = None


class Answer:
    """What a server answered.

    Attributes:
        status: 200 and so on. Every status is an answer.
        body: the answer's body, as it was sent.
    """

    __slots__ = ("_headers", "_lines", "body", "status")

    def __init__(self, status: int, lines: Sequence[bytes], body: bytes | bytearray) -> None:
        self.status = status
        self.body = body
        self._lines = lines
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, their names in lower case; of several of one name the values joined by commas."""
        headers = self._headers
        if headers is None:
            headers = self._headers = {}
            for line in self._lines:
                name, colon, value = line.decode("latin-1").partition(":")
                if colon:
                    name, value = name.strip().lower(), value.strip()
                    headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"
