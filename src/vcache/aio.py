"""The async door: the cache's verbs with `await`, under asyncio and trio.

The cache below is synchronous. A hit in memory is answered inline; everything else makes one
hop to a worker thread (docs/adr/0001). A hop that has begun is finished even when its caller
is cancelled, so that nothing is left half-written.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, ParamSpec, Self, TypeVar, cast

import anyio
import anyio.to_thread

from vcache.cache import Cache
from vcache.entry import Entry, Key
from vcache.making import Making
from vcache.outcome import Hit, Miss
from vcache.step import BoundStep, Call, Explanation, Step, StepOptions, aside
from vcache.valuables import ABSENT

if TYPE_CHECKING:
    from typing import Unpack

    from vcache.cache import CacheOptions, PutOptions
    from vcache.fingerprint.inputs import Spec
    from vcache.fingerprint.traced import Recording
    from vcache.flight import Lead
    from vcache.janitor import GcReport
    from vcache.making import Duration
    from vcache.report import Stats, VerifyReport
    from vcache.step import Options
    from vcache.store.base import Store
    from vcache.upkeep import Progress

__all__ = ["AsyncCache", "AsyncStep"]

P = ParamSpec("P")
R = TypeVar("R")

_FIRST_PAUSE_S: Final = 0.001
_LONGEST_PAUSE_S: Final = 0.05
# The keys that the current task, or one that started it, is making: it must not wait for itself.
_making: ContextVar[frozenset[Key]] = ContextVar("vcache_making", default=frozenset())


async def _hop(function: Callable[..., R], *args: object, **kwargs: object) -> R:
    """Call in a worker thread; a cancelled caller waits until it has ended."""
    return await anyio.to_thread.run_sync(functools.partial(function, *args, **kwargs))


class AsyncCache:
    """A `Cache` whose verbs are awaited. Takes what `Cache` takes, or an open one.

    Attributes:
        cache: the synchronous cache, for the few things that need no await.

    Threads: one event loop at a time; several `AsyncCache` may share one `Cache`.
    """

    def __init__(
        self, *where: str | os.PathLike[str] | Store | Cache, **options: Unpack[CacheOptions]
    ) -> None:
        if len(where) == 1 and isinstance(where[0], Cache):
            self.cache = where[0]
        else:
            self.cache = Cache(*where, **options)  # type: ignore[arg-type]  # checked there
        self._leaders: dict[Key, anyio.Event] = {}  # who is being made by a task of this loop

    async def get(self, name: str | bytes, default: object = None) -> object:
        """The value of a name if it may be used, else the default."""
        value = self.cache.get_near(self.cache.key(name))
        if value is not ABSENT:
            return value
        return await _hop(self.cache.get, name, default)

    async def lookup(self, name: str | bytes) -> Hit | Miss:
        """A `Hit` with the value and its entry, or a `Miss` with the reason."""
        return await _hop(self.cache.lookup, name)

    async def get_many(self, names: Iterable[str | bytes]) -> dict[str | bytes, object]:
        """The values of those names that have a usable one."""
        return await _hop(self.cache.get_many, names)

    async def prefetch(self, names: Iterable[str | bytes]) -> int:
        """Bring near what only far tiers have of some names; see `Cache.prefetch`."""
        return await _hop(self.cache.prefetch, names)

    async def contains(self, name: str | bytes) -> bool:
        """Whether there is a usable value."""
        return await _hop(self.cache.__contains__, name)

    async def count(self) -> int:
        """How many names this namespace holds."""
        return await _hop(len, self.cache)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """The names of this namespace, in no order."""
        names: list[str | bytes] = await _hop(lambda: list(self.cache))
        for name in names:
            yield name

    async def entries(self) -> list[Entry]:
        """The entries of this namespace, in no order."""
        return await _hop(lambda: list(self.cache.entries()))

    async def open(self, name: str | bytes) -> anyio.AsyncFile[bytes]:
        """A stream of a bytes value, read from its file where it has one; see `Cache.open`."""
        return anyio.wrap_file(await _hop(self.cache.open, name))

    async def path(self, name: str | bytes) -> Path:
        """A bytes value as a read-only file; see `Cache.path`."""
        return await _hop(self.cache.path, name)

    async def put(self, name: str | bytes, value: object, **options: Unpack[PutOptions]) -> bool:
        """Keep a value; the options are those of `Cache.put`."""
        return await _hop(self.cache.put, name, value, **options)

    async def put_many(
        self,
        items: Mapping[str, object] | Mapping[bytes, object] | Mapping[str | bytes, object],
        *,
        ttl: Duration | None = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Keep several values."""
        return await _hop(self.cache.put_many, items, ttl=ttl, tags=tags)

    async def put_file(
        self,
        name: str | bytes,
        path: str | os.PathLike[str],
        *,
        ttl: Duration | None = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Keep a file's content as a bytes value."""
        return await _hop(self.cache.put_file, name, path, ttl=ttl, tags=tags)

    async def delete(self, name: str | bytes) -> bool:
        """Forget a name; whether there was one."""
        return await _hop(self.cache.delete, name)

    async def touch(self, name: str | bytes, ttl: Duration | None = None) -> bool:
        """Give a usable value a new time to live."""
        return await _hop(self.cache.touch, name, ttl)

    async def invalidate(self, *, tags: Iterable[str]) -> int:
        """Forget every entry that has one of the tags; how many."""
        return await _hop(self.cache.invalidate, tags=tags)

    async def clear(self) -> int:
        """Forget everything in this namespace; how many names."""
        return await _hop(self.cache.clear)

    async def gc(
        self,
        *,
        max_bytes: int | str | None = None,
        max_age: Duration | None = None,
        max_entries: int | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> GcReport:
        """Drop what is expired, too old or over budget; see `Cache.gc`.

        `progress` is called in a worker thread.
        """
        return await _hop(
            self.cache.gc,
            max_bytes=max_bytes,
            max_age=max_age,
            max_entries=max_entries,
            dry_run=dry_run,
            progress=progress,
        )

    async def stats(self) -> Stats:
        """Counts of look-ups, and what the stores hold."""
        return await _hop(self.cache.stats)

    async def verify(self, *, repair: bool = False, progress: Progress | None = None) -> VerifyReport:
        """Read every byte of the persistent tier against its digest; see `Cache.verify`."""
        return await _hop(self.cache.verify, repair=repair, progress=progress)

    async def get_or_compute(
        self,
        name: str | bytes,
        compute: Callable[[], Awaitable[R] | R],
        *,
        ttl: Duration | None = None,
        stale: Duration | None = None,
        tags: Iterable[str] = (),
        deps: Iterable[Spec | str | os.PathLike[str]] = (),
        errors: Duration | None = None,
    ) -> R:
        """The value of a name; where there is none, the one that `compute` gives, which is kept.

        Of all tasks, threads and processes that ask at once, one computes.

        Args:
            compute: an `async def` or anything that gives an awaitable; a plain value is taken too.
            stale: how much longer than `ttl` a value is served to those who ask while somebody
                makes a new one. Whoever asks first makes it: no task is started behind its back.

        Raises:
            Exception: what `compute` raised, or the remembered one.
        """
        cache, key = self.cache, self.cache.key(name)
        value = cache.get_near(key)
        if value is ABSENT:
            value = await _hop(cache.get_key, key, ABSENT)
        if value is not ABSENT:
            return cast("R", value)
        wanted = frozenset([tags] if isinstance(tags, str) else tags)
        making = Making.of(ttl=ttl, stale=stale, errors=errors, tags=wanted)
        if making.stale_ns and key in self._leaders:
            late = await _hop(cache.peek_key, key)
            if isinstance(late, Hit):
                return cast("R", late.use())
        async with self._lead(key):
            found = await _hop(cache.peek_key, key)
            if isinstance(found, Hit) and not found.is_expired:
                return cast("R", found.use())
            observed = await _hop(cache.observer.observe_all, deps)
            started = time.perf_counter_ns()
            try:
                computed = compute()
                made = await computed if isinstance(computed, Awaitable) else computed
            except Exception as error:
                cost_ns = time.perf_counter_ns() - started
                await _hop(making.keep_error, cache, key, error, cost_ns=cost_ns)
                raise
            cost_ns = time.perf_counter_ns() - started
            await _hop(making.keep_if_fresh, cache, key, made, cost_ns=cost_ns, deps=observed)
            return made

    def step(
        self, function: Callable[P, Awaitable[R]] | None = None, /, **options: Unpack[Options]
    ) -> AsyncStep[P, R] | Callable[[Callable[P, Awaitable[R]]], AsyncStep[P, R]]:
        """Wrap a function, `async def` or not, so that its calls are remembered and awaited."""
        chosen = StepOptions.of(options)

        def wrap(wrapped: Callable[P, Awaitable[R]]) -> AsyncStep[P, R]:
            return AsyncStep(self, wrapped, chosen)

        return wrap if function is None else wrap(function)

    async def aclose(self) -> None:
        """Write the counts, keep the budget, release everything. May be called again."""
        await _hop(self.cache.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.aclose()

    @asynccontextmanager
    async def _lead(self, key: Key) -> AsyncIterator[None]:
        """Hold the right to make one thing, among tasks first, then among processes.

        A task never blocks a worker thread while it waits: forty of them would leave none for
        the one that computes.
        """
        if key in _making.get():
            yield  # a recursive computation must not wait for itself
            return
        while (leader := self._leaders.get(key)) is not None:
            await leader.wait()
        event = self._leaders[key] = anyio.Event()
        token = _making.set(_making.get() | {key})
        lead: Lead | None = None
        try:
            lead = await self._take(key)
            yield
        finally:
            _making.reset(token)
            del self._leaders[key]
            event.set()
            if lead is not None:
                lead.release()

    async def _take(self, key: Key) -> Lead:
        flight, pause = self.cache.flight, _FIRST_PAUSE_S
        while (lead := await _hop(flight.lead, key, wait=False, is_recursive=False)) is None:
            await anyio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)
        return lead


class AsyncStep(Generic[P, R]):
    """A function with a memory, awaited. Made by `AsyncCache.step`."""

    def __init__(self, owner: AsyncCache, function: Callable[P, Awaitable[R]], options: StepOptions) -> None:
        self._owner = owner
        self._step: Step[P, Awaitable[R]] = Step(owner.cache, function, options)
        functools.update_wrapper(self, function)
        flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
        self._is_async = bool(flags & 0x80)  # inspect.CO_COROUTINE

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The remembered result, or what the function gives now."""
        step, cache = self._step, self._owner.cache
        key = step.known_key(args, kwargs)
        if key is not None:
            value = cache.get_near(key)
            if value is not ABSENT:
                return cast("R", value)
        if not self._is_async:
            return cast("R", await _hop(step, *args, **kwargs))
        if cache.is_disabled:
            return await step.function(*args, **kwargs)
        call, found = await _hop(self._look, args, kwargs)
        cache.count(found)
        if isinstance(found, Hit) and not found.is_expired:
            return cast("R", found.use())
        async with self._owner._lead(step.lead_key(call)):
            again = await _hop(self._find, call)
            if isinstance(again, Hit) and not again.is_expired:
                return cast("R", again.use())
            return await self._run(call, args, kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> object:
        return self if instance is None else BoundStep(cast("Step[..., Awaitable[R]]", self), instance)

    async def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The name under which this call's result is, or would be, kept."""
        return await _hop(self._step.key, *args, **kwargs)

    async def is_cached(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether a call would be answered without running."""
        return await _hop(self._step.is_cached, *args, **kwargs)

    async def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """What goes into the key of a call."""
        return await _hop(self._step.explain, *args, **kwargs)

    async def invalidate(self) -> int:
        """Forget all remembered calls; how many."""
        return await _hop(self._step.invalidate)

    async def bypass(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function gives now; nothing is looked up or kept."""
        if self._is_async:
            return await self._step.function(*args, **kwargs)
        return cast("R", await _hop(self._step.bypass, *args, **kwargs))

    def _look(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[Call, Hit | Miss]:
        with aside() as outer:
            call = self._step.identify(args, kwargs)
            self._step.note_key(args, kwargs, call)
            return call, self._step.find(call, outer=outer)

    def _find(self, call: Call) -> Hit | Miss:
        with aside() as outer:
            return self._step.find(call, outer=outer)

    def _keep(
        self, call: Call, value: object, cost_ns: int, began_ns: int, recording: Recording | None
    ) -> None:
        with aside() as outer:
            self._step.keep(call, value, cost_ns, began_ns, recording, outer=outer)

    async def _run(self, call: Call, args: tuple[object, ...], kwargs: Mapping[str, object]) -> R:
        """Await the function and keep its result; a cancelled one leaves nothing."""
        step = self._step
        began_ns = await _hop(step.begin)
        started = time.perf_counter_ns()
        try:
            with step.recorder() as recording:
                value = await step.function(*args, **kwargs)  # type: ignore[arg-type]
        except Exception as error:
            await _hop(step.keep_error, call, error, time.perf_counter_ns() - started)
            raise
        await _hop(self._keep, call, value, time.perf_counter_ns() - started, began_ns, recording)
        return value
