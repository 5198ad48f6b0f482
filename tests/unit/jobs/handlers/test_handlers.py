"""Handlers: what the decorator takes, and which payloads fit."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import pytest

from vcache.errors import UsageError
from vcache.jobs.handlers import Handler, PayloadUnfit, Registry, RetryLater, current_job, handler_of, job
from vcache.jobs.models import Priority
from vcache.kit.retry import Backoff


@dataclass
class Address:
    street: str
    number: int = 1


class Nobody: ...


@job("email.send", retries=5, timeout="30s", priority="high", rate="30/m", concurrency=4)
def send(to: str, subject: str = "", *, copies: list[int] | None = None, data: bytes = b"") -> str:
    return f"{to}:{subject}:{copies}:{data!r}"


@job("move")
async def move(place: Address, how: Literal["van", "foot"] = "foot") -> None: ...


@job("open")
def opened(first: int, **others: object) -> object:
    return others


def _of(function: object) -> Handler:
    found = handler_of(function)
    assert found is not None
    return found


def test_a_decorated_function_is_called_as_before():
    """The handler is beside it."""
    assert send("ann") == "ann::None:b''"
    made = _of(send)
    assert (made.kind, made.retries, made.timeout_s, made.priority) == ("email.send", 5, 30.0, Priority.HIGH)
    assert (made.limits.rate, made.limits.running, made.is_async) == (0.5, 4, False)
    assert _of(move).is_async
    assert handler_of(len) is None


@pytest.mark.parametrize(
    ("function", "payload", "result"),
    [
        (send, {"to": "ann"}, {"to": "ann"}),
        (send, {"to": "ann", "copies": [1, 2], "data": b"x"}, {"to": "ann", "copies": [1, 2], "data": b"x"}),
        (send, {"to": "ann", "copies": None}, {"to": "ann", "copies": None}),
        (move, {"place": {"street": "a"}, "how": "van"}, {"place": Address("a"), "how": "van"}),
        (opened, {"first": 1, "second": [2]}, {"first": 1, "second": [2]}),
    ],
)
def test_a_payload_that_fits_gives_the_arguments(function, payload, result):
    """Nested dataclasses are made; defaults are the function's own."""
    assert _of(function).arguments(payload) == result


@pytest.mark.parametrize(
    ("function", "payload", "said"),
    [
        (send, {}, "missing required field `to`"),
        (send, {"to": 1}, r"Expected `str`, got `int` - at `\$.to`"),
        (send, {"to": "a", "copies": [1, "2"]}, r"Expected `int`, got `str` - at `\$.copies\[1\]`"),
        (send, {"to": "a", "subjekt": ""}, "unknown field `subjekt`; did you mean 'subject'"),
        (move, {"place": {"street": "a"}, "how": "bus"}, "Invalid enum value 'bus'"),
        (move, {"place": {"number": 2}}, r"missing required field `street` - at `\$.place`"),
        (opened, {"first": "1"}, "Expected `int`"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_with_the_place(function, payload, said):
    """Nothing is converted that was meant otherwise."""
    with pytest.raises(PayloadUnfit, match=said):
        _of(function).arguments(payload)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": ""}, "give the kind of job as text"),
        ({"retries": -1}, "retries=-1: give 0 or more"),
        ({"priority": "urgent"}, "priority='urgent': give one of critical, high, medium, low"),
        ({"rate": "10/w"}, "rate='10/w': give a number per second"),
        ({"rate": None}, "rate=None: give a number per second"),
        ({"timeout": "soon"}, "job 'a': timeout: not a duration: 'soon'"),
        ({"backoff": "soon"}, "job 'a': backoff: not a duration: 'soon'"),
        ({"unique": 3}, "unique=3: give True"),
    ],
)
def test_nonsense_is_refused_where_it_is_written(given, said):
    """With the value and what to give."""
    kind = given.pop("kind", "a")
    with pytest.raises(UsageError, match=said):
        job(kind, **given)(lambda: None)


def test_the_decorator_wants_a_kind():
    """Bare `@job` is told so."""
    with pytest.raises(UsageError, match="say which kind it runs"):
        job(lambda: None)  # type: ignore[arg-type]


def test_parameters_that_no_payload_can_fill_are_found_before_a_job_is():
    """Positional-only ones, unions that nobody can check, names that are not there."""

    def only(a: int, /) -> None: ...

    def mixed(a: int | Nobody) -> None: ...

    def absent(a) -> None: ...

    absent.__annotations__["a"] = "NotImported"
    for function, said in ((only, "positional-only"), (mixed, "cannot be checked"), (absent, "NotImported")):
        with pytest.raises(UsageError, match=said):
            _of(job("a")(function)).prepare()


def test_callables_of_all_sorts_run_jobs():
    """Partials and instances, also of coroutine functions."""

    class Caller:
        async def __call__(self) -> None: ...

    for function, is_async in (
        (functools.partial(move), True),
        (Caller(), True),
        (functools.partial(send), False),
    ):
        assert _of(job("a")(function)).is_async is is_async


def test_waits_between_attempts_double_up_to_five_minutes():
    """2 s, 4 s, 8 s … 5 min by default, each at least half of that."""
    made = _of(move)
    for failures, most_s in ((1, 2), (2, 4), (3, 8), (20, 300), (10_000, 300)):
        assert most_s / 2 <= made.delay_s(failures) <= most_s
    mine = _of(job("a", backoff=Backoff(times=2, base_s=1, factor=3, jitter=0))(lambda: None))
    assert [mine.delay_s(each) for each in (1, 2, 3, 4)] == [1, 3, 3, 3]
    fast = _of(job("a", backoff="100ms")(lambda: None))
    assert 0.05 <= fast.delay_s(1) <= 0.1 < fast.delay_s(3) <= 0.4
    assert 300 <= _of(job("a", backoff="10m")(lambda: None)).delay_s(9) <= 600
    assert RetryLater("5m").delay_s == 300


def test_a_registry_has_one_handler_for_each_kind():
    """Kinds are named one by one or with a star."""
    registry = Registry([send, move])
    assert registry.kinds == ("email.send", "move")
    assert registry.matching(["email.*"]) == ("email.send",)
    registry.add(send)
    with pytest.raises(UsageError, match="has two handlers"):
        registry.add(job("move")(lambda: None))
    with pytest.raises(UsageError, match="no handler: decorate"):
        registry.add(len)
    with pytest.raises(UsageError, match="did you mean 'move'"):
        registry.matching(["mov"])


def test_outside_of_a_job_there_is_none():
    """It says so, and what to do."""
    with pytest.raises(UsageError, match="no job runs here"):
        current_job()
