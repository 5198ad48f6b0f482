"""Signed requests to one bucket: sent, and sent once more where the clock or the credentials were wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from vcache.errors import ConfigError, StoreClosed, StoreError
from vcache.kit.clock import Clock
from vcache.kit.data import NamedTuple
from vcache.store.http.client import HttpClient
from vcache.store.http.messages import Answer, Body, Request
from vcache.store.s3.account import Account
from vcache.store.s3.address import Place
from vcache.store.s3.faults import SKEWED, STALE, code_of, fault_of
from vcache.store.s3.sign import NO_CONTENT, Signer

__all__ = ["LIMIT_BYTES", "Call", "Wire"]

_REFUSED: Final = (400, 401, 403)
_NS: Final = 1_000_000_000
_CONNECTIONS: Final = 16
LIMIT_BYTES: Final = 1 << 30
"""The longest answer that is taken of a server that knows no ranges, and sends the whole object."""


class Call(NamedTuple):
    """A request that is not signed yet.

    Attributes:
        name: of an object below the place's prefix; None for the bucket itself.
        query: as `sign.query_of` gives it.
        headers: sent as they are.
        signed: headers in lower case that are signed as well, as S3 demands of all `x-amz-…`.
        content: the SHA-256 of the body in hexadecimal.
        limit_bytes: the longest answer that is taken; a longer one is `TooLong`.
    """

    method: str
    name: str | None = None
    query: str = ""
    headers: Mapping[str, str] = {}
    signed: Mapping[str, str] = {}
    body: Body | None = None
    content: str = NO_CONTENT
    limit_bytes: int = LIMIT_BYTES


class Wire:
    """Sends calls for a place.

    Threads: all operations.
    """

    def __init__(self, place: Place, account: Account, clock: Clock) -> None:
        self._place = place
        self._account = account
        self._clock = clock
        self._offset_s = 0
        target = account.target
        self._bucket_path: Final = target.path or "/"
        self._object_path: Final = f"{target.path}/{quote(place.prefix, safe='/-_.~')}"
        self._signer = Signer(target.host, region=account.region)
        try:
            self._client = HttpClient(
                target.base,
                ca=place.ca,
                limit_bytes=LIMIT_BYTES,
                max_connections=_CONNECTIONS,
                extra="s3",
            )
        except ConfigError as error:
            raise ConfigError(f"store {place.text!r}: {error}") from error

    def one(self, call: Call) -> Answer:
        """The answer to a call, whatever its status.

        Raises:
            StoreError: there was none.
        """
        answer = self.many([call])[0]
        if isinstance(answer, StoreError):
            raise answer
        return answer

    def many(self, calls: Sequence[Call]) -> list[Answer | StoreError]:
        """The answers to calls that are under way together, in their order."""
        answers = self._sent(calls)
        refused = [
            (place, answer)
            for place, answer in enumerate(answers)
            if not isinstance(answer, StoreError) and answer.status in _REFUSED
        ]
        if refused and self._is_mended([answer for _, answer in refused]):
            again = self._sent([calls[place] for place, _ in refused])
            for (place, _), answer in zip(refused, again, strict=True):
                answers[place] = answer
        return answers

    def fault(self, answer: Answer) -> StoreError:
        """The error that an answer stands for."""
        return fault_of(answer, self._place, self._account.region)

    def close(self) -> None:
        """End all connections. May be called again."""
        self._client.close()

    def _sent(self, calls: Sequence[Call]) -> list[Answer | StoreError]:
        requests = self._signed(calls)
        if len(requests) != 1:
            return self._client.many(requests)
        method, target, headers, body, limit_bytes = requests[0]
        try:
            return [self._client.request(method, target, headers=headers, body=body, limit_bytes=limit_bytes)]
        except StoreClosed:
            raise
        except StoreError as error:
            return [error]

    def _signed(self, calls: Sequence[Call]) -> list[Request]:
        credentials = self._account.credentials()
        now_s = self._clock() // _NS + self._offset_s
        requests = []
        for method, name, query, headers, signed, body, content, limit_bytes in calls:
            path = self._bucket_path if name is None else self._object_path + name
            sent = dict(signed)
            if credentials is not None:
                sent = self._signer.headers(
                    method, path, query, credentials=credentials, now_s=now_s, content=content, more=signed
                )
            if headers:
                sent.update(headers)
            target = f"{path}?{query}" if query else path
            requests.append(Request(method, target, sent.items(), body, limit_bytes))
        return requests

    def _is_mended(self, refused: Sequence[Answer]) -> bool:
        """Whether calls that were refused may succeed if they are signed anew."""
        codes = {code_of(answer): answer for answer in refused}
        if set(codes) == {""}:  # a HEAD is answered without words
            asked = self._sent([Call("GET", query="list-type=2&max-keys=0")])[0]
            if isinstance(asked, StoreError):
                return False
            codes = {code_of(asked): asked}
        if SKEWED in codes:
            return self._is_set(codes[SKEWED])
        return not STALE.isdisjoint(codes) and self._account.renew()

    def _is_set(self, answer: Answer) -> bool:
        """Whether the server's clock was learned from its answer."""
        from email.utils import parsedate_to_datetime  # 10 ms that only a wrong clock costs

        try:
            theirs_s = int(parsedate_to_datetime(answer.headers["date"]).timestamp())
        except (KeyError, ValueError):
            return False
        self._offset_s = theirs_s - self._clock() // _NS
        return True
