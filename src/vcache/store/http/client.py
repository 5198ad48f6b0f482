"""A client of one HTTP server: requests and answers, one by one or many at once.

It follows no redirect, unpacks nothing, keeps no cookie and tries nothing twice; each call ends by
the deadline of its thread's operation (`vcache.kit.deadlines`). It must not know what it moves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from vcache.errors import ConfigError, StoreClosed, StoreError, StoreUnavailable, UsageError
from vcache.kit.deadlines import left_s
from vcache.kit.pool import Pool
from vcache.store.http.messages import Answer, Body, Headers, Request

if TYPE_CHECKING:
    from vcache.store.http.crew import Crew
    from vcache.store.http.curl import Line

__all__ = ["Answer", "Body", "Headers", "HttpClient", "Request"]

_T = TypeVar("_T")

_BASE: Final = re.compile(r"(https?)://([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_TARGET: Final = re.compile(r"/[!-~]*")
_METHOD: Final = re.compile(r"[A-Z]+")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_LOOPBACK: Final = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])\Z")


class HttpClient:
    """Sends requests to one server over connections that it keeps.

    Args:
        base: `http://host[:port]` or `https://…`, without a path.
        headers: sent with each request.
        timeout_s: the longest that a call takes where no deadline is set, and the most in any case.
        limit_bytes: the longest body of an answer that is taken.
        ca: a PEM file of the authorities to trust instead of the system's.
        cert, key: PEM files of the client's certificate and its key.
        verify: False takes any server for the one that it says to be.
        proxy: the address of a proxy; "" for none; None for what the environment says
            (`https_proxy`, `no_proxy` …), which never goes for this machine's own addresses.
        max_connections: how many at once, for single requests and for each batch.
        extra: of vcache, to be named where libcurl is missing.

    Threads: all operations. After a fork the child makes connections of its own.

    Raises:
        ConfigError: the extra is not installed, or an argument makes no sense.
    """

    def __init__(
        self,
        base: str,
        *,
        headers: Headers = (),
        timeout_s: float = 300.0,
        limit_bytes: int = 1 << 30,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        verify: bool = True,
        proxy: str | None = None,
        max_connections: int = 16,
        extra: str = "http",
    ) -> None:
        try:
            from vcache.store.http import crew, curl  # they need the extra
        except ImportError as error:
            # Who opens an address puts it before this.
            raise ConfigError(f"pycurl cannot be loaded ({error}): pip install 'vcache[{extra}]'") from error
        found = _BASE.fullmatch(base)
        if found is None:
            raise ConfigError(f"{base!r:.200} is not the address of a server: write http(s)://host[:port]")
        if proxy is None and _LOOPBACK.match(found[2]):
            proxy = ""
        self.base: Final = base
        self._timeout_s: Final = timeout_s
        settings = curl.settings_of(
            base,
            headers=[_header(name, value) for name, value in headers],
            limit_bytes=limit_bytes,
            ca=ca,
            cert=cert,
            key=key,
            verify=verify,
            proxy=proxy,
        )
        self._unfinished: Final = curl.Unfinished
        # Answers here have taken longer than a deadline, which only a crew can lengthen under way. It
        # costs 20 µs more for each request (56 instead of 36 µs of CPU for 1 KB).
        self._is_slow = False
        self._lines: Pool[Line] = Pool(
            lambda: curl.Line(settings), limit=max_connections, close=curl.Line.close, disown=curl.Line.disown
        )
        self._crews: Pool[Crew] = Pool(
            lambda: crew.Crew(settings, max_connections),
            limit=max_connections,
            close=crew.Crew.close,
            disown=crew.Crew.disown,
        )

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Headers = (),
        body: Body | None = None,
        limit_bytes: int | None = None,
    ) -> Answer:
        """What the server answers to one request, whatever its status.

        Args:
            target: the absolute path with its query, sent as it is given.
            limit_bytes: the longest body that is taken of this answer, instead of the client's.

        Raises:
            StoreUnavailable: it did not answer, not in time, or not whole.
            StoreError: its certificate is not trusted, or its answer is too large.
            StoreClosed: the client was closed.
        """
        timeout_s = left_s(self._timeout_s)
        if not self._is_slow:
            lines = self._lines
            line = self._taken(lines, timeout_s)
            is_sound = False
            try:
                line.begin(method, _checked(method, target), _texts(headers), body, limit_bytes, timeout_s)
                answer = line.perform()
                is_sound = True
                return answer
            except self._unfinished:
                self._is_slow = is_sound = True
            except StoreError:
                is_sound = True  # the handle is; libcurl knows which connections still are
                raise
            finally:
                lines.give(line, is_sound=is_sound)
        (result,) = self.many([Request(method, target, headers, body, limit_bytes)])
        if isinstance(result, StoreError):
            raise result
        return result

    def many(self, requests: Sequence[Request]) -> list[Answer | StoreError]:
        """The answers to many requests that are under way together, in their order.

        A request that fails has its error in its answer's place, as `request` would raise it.

        Raises:
            StoreClosed: the client was closed.
        """
        crew = self._taken(self._crews, left_s(self._timeout_s))
        is_sound = False
        try:
            asked = [
                (
                    each.method,
                    _checked(each.method, each.target),
                    _texts(each.headers),
                    each.body,
                    each.limit_bytes,
                )
                for each in requests
            ]
            answers = crew.perform(asked, self._timeout_s)
            is_sound = True
            return answers
        finally:
            self._crews.give(crew, is_sound=is_sound)

    def close(self) -> None:
        """End all connections. May be called again."""
        self._lines.close()
        self._crews.close()

    def _taken(self, pool: Pool[_T], timeout_s: float) -> _T:
        try:
            return pool.take(timeout_s)
        except UsageError:
            raise StoreClosed(f"{self.base}: the client was closed") from None
        except TimeoutError as error:
            raise StoreUnavailable(f"{self.base}: no connection was free: {error}") from None


def _checked(method: str, target: str) -> str:
    if not _TARGET.fullmatch(target):
        raise UsageError(f"{target!r:.200} is not the target of a request: write /path, percent-encoded")
    if not _METHOD.fullmatch(method):
        raise UsageError(f"{method!r:.80} is not the method of a request")
    return target


def _texts(headers: Headers) -> list[str]:
    return [_header(name, value) for name, value in headers] if headers else []


def _header(name: str, value: str) -> str:
    """A header's line. Nothing that a value holds can begin another one."""
    if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
        raise UsageError(f"the header {name!r:.80} has characters that no header may have")
    return f"{name}: {value}" if value else f"{name};"
