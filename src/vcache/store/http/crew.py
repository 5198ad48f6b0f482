"""Many requests under way together in one thread, by libcurl's multi interface.

It must not know whose requests these are.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import pycurl

from vcache.errors import StoreError, StoreUnavailable
from vcache.kit.deadlines import left_s
from vcache.store.http.curl import Line, Settings, Sockets
from vcache.store.http.messages import Answer, Body

__all__ = ["Asked", "Crew"]

Asked: TypeAlias = tuple[str, str, Sequence[str], "Body | None", "int | None"]
"""The arguments of `Line.begin`, but for the time."""


_OVER_S: Final = 0.001  # what `left_s` says of a time that is over
_EVENTS: Final = {
    pycurl.POLL_IN: select.POLLIN,
    pycurl.POLL_OUT: select.POLLOUT,
    pycurl.POLL_INOUT: select.POLLIN | select.POLLOUT,
    pycurl.POLL_NONE: 0,
}


def _action(event: int) -> Any:
    return (
        (pycurl.CSELECT_IN if event & (select.POLLIN | select.POLLHUP) else 0)
        | (pycurl.CSELECT_OUT if event & select.POLLOUT else 0)
        | (pycurl.CSELECT_ERR if event & (select.POLLERR | select.POLLNVAL) else 0)
    )


class Crew:
    """Handles whose requests are under way together, in one thread.

    Args:
        size: how many at once.
    """

    def __init__(self, settings: Settings, size: int) -> None:
        self._settings = settings
        self._size = size
        self._sockets = Sockets()
        self._idle: list[Line] = []
        self._busy: dict[pycurl.Curl, Line] = {}
        self._poll = select.poll()
        self._wait_ms = -1
        self._multi = multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_MAXCONNECTS, size)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def perform(self, requests: Sequence[Asked], timeout_s: float) -> list[Answer | StoreError]:
        """The answers to requests, in their order.

        Args:
            timeout_s: the most in any case. By `left_s` it may be less, and grow while answers come.
        """
        end_s = time.monotonic() + timeout_s
        timeout_s = left_s(timeout_s)

        def rest_s() -> float:
            return left_s(max(_OVER_S, end_s - time.monotonic()))

        answers: list[Answer | StoreError | None] = [None] * len(requests)
        waiting = deque(enumerate(requests))
        while waiting or self._busy:
            if (wait_s := rest_s()) <= _OVER_S:
                break
            while waiting and len(self._busy) < self._size:
                self._begin(*waiting.popleft(), timeout_s)
            self._step(wait_s)
            self._collect(answers)
        for line in tuple(self._busy.values()):
            answers[self._done(line.curl).place] = line.late()
        late = StoreUnavailable(f"{self._settings.base}: no time was left to ask, of {timeout_s:.3g} s")
        return [late if answer is None else answer for answer in answers]

    def close(self) -> None:
        for line in self._busy.values():  # left by an interrupted call
            self._multi.remove_handle(line.curl)
            line.close()
        for line in self._idle:
            line.close()
        self._busy.clear()
        self._idle.clear()
        self._multi.close()

    def disown(self) -> None:
        """As `Line.disown`."""
        self._sockets.detach()

    def _begin(self, place: int, request: Asked, timeout_s: float) -> None:
        line = self._idle.pop() if self._idle else Line(self._settings, self._sockets)
        line.begin(*request, timeout_s, is_timed=False)
        line.place = place
        self._busy[line.curl] = line
        self._multi.add_handle(line.curl)

    def _step(self, rest_s: float) -> None:
        """Wait for what the server or the clock does next, and let libcurl act on it."""
        left_ms = int(rest_s * 1000) + 1
        wait_ms = left_ms if self._wait_ms < 0 else min(self._wait_ms, left_ms)
        events = self._poll.poll(wait_ms)
        action = self._multi.socket_action
        if not events:
            action(pycurl.SOCKET_TIMEOUT, 0)
        for descriptor, event in events:
            action(descriptor, _action(event))

    def _collect(self, answers: list[Answer | StoreError | None]) -> None:
        n_more = 1
        while n_more:
            n_more, done, failed = self._multi.info_read()
            for curl in done:
                line = self._done(curl)
                try:
                    answers[line.place] = line.answer()
                except StoreUnavailable as error:
                    answers[line.place] = error
            for curl, code, message in failed:
                line = self._done(curl)
                answers[line.place] = line.failure(code, message)

    def _done(self, curl: pycurl.Curl) -> Line:
        line = self._busy.pop(curl)
        self._multi.remove_handle(curl)
        self._idle.append(line)
        return line

    def _watch(self, what: int, descriptor: int, *_: object) -> None:
        """Called by libcurl: which events of a socket it wants."""
        if what == pycurl.POLL_REMOVE:
            with suppress(KeyError):
                self._poll.unregister(descriptor)
        else:
            self._poll.register(descriptor, _EVENTS[what])

    def _set_timer(self, wait_ms: int) -> None:
        """Called by libcurl: when it wants to be called at the latest, -1 for never."""
        self._wait_ms = wait_ms
