"""The async door, under asyncio and trio."""

from __future__ import annotations

import threading

import anyio
import anyio.lowlevel
import pytest

from vcache import AsyncCache, Cache, File
from vcache.errors import UsageError
from vcache.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
async def cache(tmp_path):
    async with AsyncCache(tmp_path / "cache", root=tmp_path) as opened:
        yield opened


async def test_verbs_do_what_the_synchronous_ones_do(cache):
    """Each verb, awaited, has the effect of its synchronous namesake."""
    assert await cache.put("a", None)
    assert await cache.put("b", [1, 2], tags={"t"})
    assert await cache.get("a", "absent") is None
    assert await cache.get("c", "absent") == "absent"
    assert (await cache.lookup("b")).value == [1, 2]
    assert not await cache.lookup("c")
    assert await cache.contains("a")
    assert await cache.count() == 2
    assert sorted([name async for name in cache]) == ["a", "b"]
    assert await cache.get_many(["a", "b", "c"]) == {"a": None, "b": [1, 2]}
    assert await cache.touch("a", "1h")
    assert await cache.invalidate(tags={"t"}) == 1
    assert await cache.delete("a")
    assert await cache.put_many({"x": 1, "y": 2})
    assert (await cache.stats()).puts == 4
    assert await cache.verify()
    assert await cache.prefetch(["x"]) == 0, "nothing is far"
    assert (await cache.gc(dry_run=True)).kept_entries >= 2
    assert await cache.clear() == 2


async def test_a_memory_hit_changes_no_thread(cache, monkeypatch):
    """A value that lies in memory is answered without a worker thread."""
    await cache.put("a", "value")
    await cache.get("a")  # comes from the disk into memory
    await cache.get("a")  # is decoded there
    monkeypatch.setattr(anyio.to_thread, "run_sync", None)
    assert await cache.get("a") == "value"


async def test_bytes_are_streamed_and_files_kept(cache, tmp_path):
    """`open` gives an awaitable stream; `put_file` keeps a file under tags."""
    (tmp_path / "file").write_bytes(b"content")
    assert await cache.put_file("file", tmp_path / "file", tags={"t"})
    async with await cache.open("file") as stream:
        assert await stream.read() == b"content"
    assert (await cache.path("file")).read_bytes() == b"content"
    assert await cache.invalidate(tags={"t"}) == 1


async def test_a_plain_function_may_compute(cache):
    """A computation that is not async gives its value as well."""
    assert await cache.get_or_compute("key", lambda: 6) == 6
    assert await cache.get("key") == 6


async def test_of_many_tasks_one_computes(cache):
    """A hundred tasks that ask for one cold key compute it once."""
    runs = []

    async def compute():
        runs.append(1)
        await anyio.sleep(0.01)
        return "made"

    results = []

    async def ask():
        results.append(await cache.get_or_compute("key", compute))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)
    assert runs == [1]
    assert results == ["made"] * 100


async def test_a_failed_leader_lets_the_next_one_go_on(cache):
    """When the computing task raises, a waiting one computes; the exception is its own."""
    runs = []

    async def compute():
        runs.append(1)
        await anyio.sleep(0.01)
        if len(runs) == 1:
            raise OSError("once")
        return "made"

    outcomes = []

    async def ask():
        try:
            outcomes.append(await cache.get_or_compute("key", compute))
        except OSError as error:
            outcomes.append(str(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    assert len(runs) == 2
    assert sorted(outcomes) == ["made"] * 4 + ["once"]


async def test_a_cancelled_leader_leaves_nothing_and_blocks_nobody(cache):
    """Cancelling the computing task keeps no value, and the next caller computes."""
    started = anyio.Event()

    async def never():
        started.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cache.get_or_compute, "key", never)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert not await cache.contains("key")

    async def compute():
        return "made"

    with anyio.fail_after(5):
        assert await cache.get_or_compute("key", compute) == "made"


async def test_an_expired_value_serves_while_a_new_one_is_made(tmp_path):
    """Within `stale`, those who ask while one task computes get the old value at once."""
    clock = FakeClock()
    async with AsyncCache(tmp_path / "cache", clock=clock) as cache:
        started, go_on = anyio.Event(), anyio.Event()

        async def old():
            return "old"

        async def new():
            started.set()
            await go_on.wait()
            return "new"

        async def ask(compute):
            return await cache.get_or_compute("key", compute, ttl="1m", stale="1h")

        assert await ask(old) == "old"
        clock.advance("2m")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, new)
            await started.wait()
            assert await ask(old) == "old"
            go_on.set()
        assert await ask(old) == "new"


async def test_a_recursive_computation_does_not_wait_for_itself(cache):
    """A computation that asks for its own key computes it instead of hanging."""

    async def inner():
        return "inner"

    async def outer():
        return await cache.get_or_compute("key", inner)

    with anyio.fail_after(5):
        assert await cache.get_or_compute("key", outer) == "inner"


async def test_a_dependency_that_changes_makes_it_compute_again(cache, tmp_path):
    """A value that was computed with a file as dependency is computed anew when the file changes."""
    source = tmp_path / "source"
    source.write_text("one")

    async def read():
        return await anyio.Path(source).read_text()

    assert await cache.get_or_compute("key", read, deps=[File(source)]) == "one"
    source.write_text("two!")
    assert await cache.get_or_compute("key", read, deps=[File(source)]) == "two!"


async def test_async_steps_are_remembered(cache):
    """An `async def` step runs once for equal arguments, also for concurrent calls."""
    runs: list[int] = []

    @cache.step(ignore=["log"])
    async def double(number, log):
        log.append(number)
        await anyio.sleep(0.01)
        return number * 2

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(double, 4, runs)
    assert await double(4, log=runs) == 8
    assert runs == [4]
    assert await double.is_cached(4, runs)
    assert (await double.key(4, runs)) == (await double.key(number=4, log=[]))
    assert await double.bypass(4, runs) == 8
    assert runs == [4, 4]
    assert await double.invalidate() == 1
    assert not await double.is_cached(4, runs)


async def test_async_steps_keep_exceptions_only_when_asked(cache):
    """An exception of an async step is raised again without running within `errors`."""
    runs: list[int] = []

    @cache.step(errors="10m", ignore=["log"])
    async def fail(log):
        log.append(1)
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await fail(runs)
    assert runs == [1]


async def test_plain_functions_run_in_a_worker_thread(cache):
    """A step that is not async does not block the loop."""

    @cache.step
    def where():
        return threading.current_thread() is threading.main_thread()

    assert await where() is False
    assert await where() is False


async def test_traced_async_steps_depend_on_what_they_open(cache, tmp_path):
    """A file that an async step opens is a dependency; another task's files are not."""
    runs: list[int] = []
    source = tmp_path / "seen"
    source.write_text("one")

    @cache.step(inputs="traced", ignore=["log"])
    async def read(path, log):
        log.append(1)
        await anyio.lowlevel.checkpoint()
        with open(path) as file:  # noqa: ASYNC230
            return file.read()

    assert await read(str(source), runs) == "one"
    assert await read(str(source), runs) == "one"
    assert runs == [1]
    source.write_text("two!")
    assert await read(str(source), runs) == "two!"
    assert runs == [1, 1]


async def test_an_open_cache_can_be_given(tmp_path):
    """An `AsyncCache` over an open `Cache` sees what that one keeps."""
    with Cache(tmp_path / "cache") as plain:
        plain.put("a", 1)
        assert await AsyncCache(plain).get("a") == 1


async def test_a_synchronous_cache_refuses_async_steps(tmp_path):
    """`Cache.step` on an `async def` says which class to use."""
    with Cache(tmp_path / "cache") as plain, pytest.raises(UsageError, match=r"AsyncCache\.step"):

        @plain.step
        async def step(): ...
