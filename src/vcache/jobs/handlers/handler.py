"""What runs jobs of a kind: a function, and how often, how long and how many at once.

It must not know queues, nor who calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from vcache.errors import UsageError, VcacheError
from vcache.jobs.handlers.payload import checker
from vcache.jobs.models import Limits, Payload, Priority
from vcache.kit.retry import Backoff
from vcache.kit.units import seconds

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["RETRIES", "GiveUp", "Handler", "RetryLater", "handler_of", "job"]

F = TypeVar("F", bound=Callable[..., object])

RETRIES: Final = 3
_BASE_S: Final = 2.0
_MOST_S: Final = 300.0
_ENDLESS: Final = 1 << 30
_MARK: Final = "__vcache_job__"
_PER: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_COROUTINE: Final = 0x80 | 0x100  # CO_COROUTINE | CO_ITERABLE_COROUTINE; `inspect` costs 10 ms


class RetryLater(VcacheError):
    """Raised by a handler: this attempt came too early; try again after that time, if attempts are left.

    Args:
        delay: seconds, or text such as "5m".
        why: one line.
    """

    def __init__(self, delay: float | str | timedelta, why: str = "") -> None:
        self.delay_s: Final = seconds(delay)
        super().__init__(why or f"it asked to be tried again in {self.delay_s:g} s")


class GiveUp(VcacheError):
    """Raised by a handler: no further attempt can help; the job is dead."""


class Handler:
    """What runs jobs of a kind.

    Attributes:
        kind: of job that it runs.
        function: what runs.
        is_async: it is a coroutine function.
        retries: how many attempts may follow a failed first one.
        timeout_s: how long one attempt may take; 0 for any time.
        backoff: how long it is waited before each further attempt.
        priority: of jobs that are asked for by the function and do not say one.
        limits: what all workers together may do of the kind.
        unique: whether, or under which key, jobs that are asked for by the function are unique.

    Raises:
        UsageError: a value that makes no sense.
    """

    __slots__ = (
        "_check", "backoff", "function", "is_async", "kind", "limits", "priority", "retries", "timeout_s", "unique",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        function: Callable[..., object],
        *,
        retries: int = RETRIES,
        timeout: float | str | timedelta | None = None,
        backoff: Backoff | float | str | timedelta | None = None,
        priority: str | Priority = Priority.MEDIUM,
        rate: float | str = 0.0,
        concurrency: int = 0,
        unique: str | bool = False,
    ) -> None:
        if not isinstance(kind, str) or not kind or kind != kind.strip():
            raise UsageError(f"@job({kind!r:.80}): give the kind of job as text, such as @job('email.send')")
        for name, value in (("retries", retries), ("concurrency", concurrency)):
            if not isinstance(value, int) or value < 0:
                raise UsageError(f"job {kind!r}: {name}={value!r}: give 0 or more")
        if not isinstance(unique, str | bool):
            raise UsageError(
                f"job {kind!r}: unique={unique!r:.80}: give True for the payload's digest, or a key"
            )
        self.kind: Final = kind
        self.function: Final = function
        self.is_async: Final = _is_coroutine(function)
        self.retries: Final = retries
        self.timeout_s: Final = 0.0 if timeout is None else _seconds(kind, "timeout", timeout)
        self.backoff: Final = _backoff(kind, backoff)
        self.priority: Final = _priority(kind, priority)
        self.limits: Final = Limits(_rate(kind, rate), 0.0, concurrency)
        self.unique: Final = unique
        self._check: Callable[[Payload], Mapping[str, object]] | None = None

    def prepare(self) -> None:
        """Look at the function's parameters, so that a mistake there is found before a job is.

        Raises:
            UsageError: they cannot be filled from a payload.
            ConfigError: msgspec, which checks payloads, is not installed.
        """
        if self._check is None:
            self._check = checker(self.kind, self.function)

    def arguments(self, payload: Payload) -> Mapping[str, object]:
        """What the function is called with, by name.

        Raises:
            PayloadUnfit: the payload does not fit its parameters.
        """
        if self._check is None:
            self.prepare()
        assert self._check is not None
        return self._check(payload)

    def delay_s(self, failures: int) -> float:
        """How long it is waited after so many failed attempts."""
        backoff = self.backoff
        return backoff.wait_s(max(1, min(failures, backoff.times))) or 0.0

    def __repr__(self) -> str:
        return f"Handler({self.kind!r}, {_name(self.function)})"


def job(
    kind: str,
    *,
    retries: int = RETRIES,
    timeout: float | str | timedelta | None = None,
    backoff: Backoff | float | str | timedelta | None = None,
    priority: str | Priority = Priority.MEDIUM,
    rate: float | str = 0.0,
    concurrency: int = 0,
    unique: str | bool = False,
) -> Callable[[F], F]:
    """Let a function, plain or `async`, run jobs of a kind. It can be called as before.

    Its parameters are the payload's fields; a payload that does not fit their types is not tried. What
    it returns is the job's result: None, numbers, text, bytes, and lists and dicts of these.

    Args:
        retries: how many attempts may follow a failed first one.
        timeout: how long one may take: seconds, or text such as "30s".
        backoff: how long it is waited before the first of them, such as "2s", the default; each further
            wait is twice as long, up to 5 min or that first one, with jitter. A `vcache.kit.retry.Backoff`
            says all of it.
        priority: of jobs that are asked for by this function, `jobs.submit(function, …)`, and do not say one.
        rate: how many may start on all workers together: a number per second, or text such as "10/m".
        concurrency: how many may run at the same time on all workers together.
        unique: of jobs that are asked for so, too. True: of those with the same payload only one lives; text: the key.

    Raises:
        UsageError: a value that makes no sense.
    """
    if callable(kind):
        raise UsageError(f"@job on {_name(kind)}: say which kind it runs: @job('email.send')")

    def marked(function: F) -> F:
        made = Handler(
            kind, function, retries=retries, timeout=timeout, backoff=backoff, priority=priority, rate=rate,
            concurrency=concurrency, unique=unique,
        )  # fmt: skip
        setattr(function, _MARK, made)
        return function

    return marked


def handler_of(function: object) -> Handler | None:
    """The handler that `job` made of a function; None where it made none."""
    found = function if isinstance(function, Handler) else getattr(function, "__dict__", {}).get(_MARK)
    return found if isinstance(found, Handler) else None


def _is_coroutine(function: Callable[..., object]) -> bool:
    while (inner := getattr(function, "func", None)) is not None:  # functools.partial
        function = inner
    function = getattr(function, "__func__", function)
    if (code := getattr(function, "__code__", None)) is None:  # an instance with `__call__`
        code = getattr(type(function).__dict__.get("__call__"), "__code__", None)
    return bool(getattr(code, "co_flags", 0) & _COROUTINE)


def _seconds(kind: str, name: str, value: float | str | timedelta) -> float:
    try:
        return seconds(value)
    except UsageError as error:
        raise UsageError(f"job {kind!r}: {name}: {error}") from None


def _backoff(kind: str, value: Backoff | float | str | timedelta | None) -> Backoff:
    if isinstance(value, Backoff):
        return value
    base_s = _BASE_S if value is None else _seconds(kind, "backoff", value)
    return Backoff(times=_ENDLESS, base_s=base_s, most_s=max(_MOST_S, base_s))


def _priority(kind: str, value: str | Priority) -> Priority:
    if isinstance(value, str):
        found = Priority.__members__.get(value.upper())
        if found is not None:
            return found
    elif value in Priority.__members__.values():
        return Priority(value)
    raise UsageError(
        f"job {kind!r}: priority={value!r}: give one of {', '.join(each.name.lower() for each in Priority)}"
    )


def _rate(kind: str, value: float | str) -> float:
    if isinstance(value, str):
        number, slash, unit = value.partition("/")
        try:
            per_s = float(number) / _PER[unit.strip()] if slash else float(number)
        except (KeyError, ValueError):
            per_s = -1.0
    else:
        per_s = float(value) if isinstance(value, int | float) else -1.0
    if not 0 <= per_s < float("inf"):
        raise UsageError(
            f"job {kind!r}: rate={value!r}: give a number per second, or such as '10/s', '5/m', '1/h'"
        )
    return per_s


def _name(function: object) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"
