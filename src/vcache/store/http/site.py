"""Where on an HTTP server records are kept: paths, answers judged, and what kind of server it is.

It must not know what an object is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from vcache.errors import StoreError
from vcache.store.http.client import HttpClient
from vcache.store.http.messages import Answer, Body, Headers, Request, refusal

__all__ = ["ABSENT", "BATCH", "DONE", "Site"]

DONE: Final = frozenset({200, 201, 202, 204})
ABSENT: Final = frozenset({404, 410})
_UNKNOWN_CALL: Final = frozenset({404, 405, 501})
# How servers say that the directory of what is put is missing (RFC 4918, 9.7.1); before it is known to be
# there, 404 and 500 may say so too: nginx does.
_CONFLICTS: Final = frozenset({409})
BATCH: Final = "-/"
"""With what the paths of the calls begin that only vcache's own server has."""


class Site:
    """A directory of an HTTP server.

    Args:
        path: of the directory, with a slash at its end.
        remedy: what to do where the server wants to know who asks.
    """

    def __init__(self, client: HttpClient, path: str, *, remedy: str) -> None:
        self.client: Final = client
        self.path: Final = path
        self.where: Final = client.base + path
        self._remedy = remedy
        # Whether it is vcache's own server; None until it first answered.
        self._is_own: bool | None = None
        self._has_batches = True
        self._has_directory = False  # once a PUT went well, or the directory was made as far as that goes

    @property
    def is_own(self) -> bool:
        """Whether vcache's own server is known to answer here, and to take its batch calls."""
        return self._is_own is True and self._has_batches

    def learn(self) -> bool:
        """As `is_own`; the server is asked if nobody knows."""
        if self._is_own is None:
            self.ask("HEAD", "00")
        return self.is_own

    def ask(
        self,
        method: str,
        name: str,
        *,
        headers: Headers = (),
        body: Body | None = None,
        limit_bytes: int | None = None,
    ) -> Answer:
        """What the server answers to a request for a name in the directory."""
        answer = self.client.request(
            method, self.path + name, headers=headers, body=body, limit_bytes=limit_bytes
        )
        if self._is_own is None:
            self._note(answer)
        return answer

    def ask_all(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers to requests for names, in order.

        Raises:
            StoreError: one of them had none.
        """
        if len(requests) == 1:  # at two thirds of the cost
            method, name, headers, body, limit_bytes = requests[0]
            return [self.ask(method, name, headers=headers, body=body, limit_bytes=limit_bytes)]
        answers = []
        for answer in self.client.many([each._replace(target=self.path + each.target) for each in requests]):
            if isinstance(answer, StoreError):
                raise answer
            answers.append(answer)
        if self._is_own is None and answers:
            self._note(answers[0])
        return answers

    def call(self, method: str, name: str, body: Body | None = None) -> Answer | None:
        """The answer to one of the calls of vcache's own server; None where it does not know it."""
        answer = self.ask(method, BATCH + name, body=body)
        if answer.status in _UNKNOWN_CALL:
            self._has_batches = False
            return None
        if answer.status not in DONE:
            raise self.refusal(answer, f"{method} {BATCH}{name}")
        return answer

    def put(self, name: str, body: Body) -> None:
        """Keep a body under a name. The directory is made when it is missing."""
        self.put_all([(name, body)])

    def put_all(self, bodies: Sequence[tuple[str, Body]]) -> None:
        """As `put`, for all of them."""
        requests = [Request("PUT", name, body=body) for name, body in bodies]
        # As it was before: another thread may make the directory while these fail.
        maybe = _CONFLICTS if self._has_directory else _CONFLICTS | {404, 500}
        answers = self.ask_all(requests)
        if any(answer.status in maybe for answer in answers):
            again = [
                request
                for request, answer in zip(requests, answers, strict=True)
                if answer.status not in DONE
            ]
            answers = [answer for answer in answers if answer.status in DONE]
            self.make()
            answers += self.ask_all(again)
        for answer in answers:
            if answer.status not in DONE:
                raise self.refusal(answer, "PUT")
        self._has_directory = True

    def make(self) -> None:
        """Make the directory and those above it, as far as the server lets (RFC 4918, 9.3 and 9.7.1).

        Whether it could is seen at the next PUT.
        """
        for path in reversed(self._up()[:-1]):
            self.client.request("MKCOL", path)
        self._has_directory = True

    def first(self, ask: Callable[[str], Answer]) -> Answer:
        """What the server says of the directory, or of the nearest one above it that it knows."""
        answer: Answer | None = None
        for path in self._up():
            answer = ask(path)
            if answer.status not in {404, 409, 410}:
                break
        assert answer is not None
        if self._is_own is None:
            self._note(answer)
        return answer

    def refusal(self, answer: Answer, what: str) -> StoreError:
        """The error that an answer means."""
        return refusal(self.where, answer, what, remedy=self._remedy)

    def _up(self) -> list[str]:
        """The directory's path, and those above it, the nearest first."""
        parts = self.path.strip("/").split("/")
        return ["/" + "/".join(parts[:count]) + "/" for count in range(len(parts), 0, -1)] + ["/"]

    def _note(self, answer: Answer) -> None:
        if answer.status < 500:  # otherwise it may be who stands before the server
            self._is_own = answer.headers.get("server", "").startswith("vcache/")
