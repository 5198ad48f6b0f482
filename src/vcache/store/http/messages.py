"""A request and an answer of HTTP, as data, and what a refusal means. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, Union

from vcache.errors import StoreError, StoreFull, StoreUnavailable
from vcache.kit.data import NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Answer", "Body", "Headers", "Refused", "Request", "ServerBusy", "TooLong", "refusal"]

_SHOWN: Final = 200
_MOST_AFTER_S: Final = 3600.0

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


class TooLong(StoreError):
    """An answer is longer than the limit; what of it came was dropped."""


class Refused(StoreError):
    """A server does not do what it was asked, now or ever.

    Attributes:
        status: what it answered.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ServerBusy(StoreUnavailable):
    """A server cannot do it at the moment.

    Attributes:
        retry_after_s: in how many seconds it wants to be asked again; None if it did not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def refusal(where: str, answer: Answer, what: str, *, remedy: str = "") -> StoreError:
    """The error that an answer other than success means.

    Args:
        where: the server, for the message.
        what: the request, for the message.
        remedy: what to do about a 401 or 403.
    """
    status = answer.status
    said = f"{where}: {status} to {what}"
    if 300 <= status < 400:
        to = answer.headers.get("location", "")
        return Refused(
            f"{said}, pointing to {to!r:.{_SHOWN}}; redirects are not followed: if that is the cache, "
            "make it the store's address",
            status,
        )
    if status in {401, 403}:
        return Refused(f"{said}: {remedy}" if remedy else said, status)
    if status in {413, 507}:
        return StoreFull(f"{said}: {'the record is too large' if status == 413 else 'no room is left'}")
    if status in {408, 425, 429} or (status >= 500 and status not in {501, 505}):
        return ServerBusy(said, _after_s(answer.headers.get("retry-after", "")))
    text = bytes(answer.body[:_SHOWN]).decode("utf-8", "replace").strip() if answer.body else ""
    return Refused(f"{said}: {text!r}" if text.isprintable() and text else said, status)


def _after_s(text: str) -> float | None:
    """The seconds of a Retry-After, which may be a date; never more than an hour."""
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _MOST_AFTER_S)
    if not text:
        return None
    from email.utils import parsedate_to_datetime  # 10 ms, for an answer that hardly ever comes
    from time import time

    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - time()), _MOST_AFTER_S)
    except (ValueError, TypeError, OverflowError):
        return None
