"""Making what is not there: once for all who ask, by threads and processes, also late and in the background."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vcache import Cache, Hit
from vcache.kit.units import nanoseconds
from vcache.making import Making
from vcache.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def cache(tmp_path, clock):
    with Cache(tmp_path / "c", clock=clock) as cache:
        yield cache


def wait_for(condition, *, timeout_s: float = 10) -> None:
    """Let a background thread come to its end."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


def refreshing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "vcache-refresh"]


class Source:
    """Gives 1, 2, 3 …, and waits before each one as long as the gate is closed."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return number

    def __vcache_key__(self) -> str:
        return "source"


@pytest.fixture
def source():
    return Source()


@pytest.fixture(params=["get_or_compute", "step", "step with inputs"])
def ask(request, cache, source):
    """The same law for values by name and for steps."""
    if request.param == "get_or_compute":
        return lambda: cache.get_or_compute("k", source, ttl="1m", stale="1h")
    inputs = [] if request.param == "step" else [__file__]

    @cache.step(ttl="1m", stale="1h", inputs=inputs, code="none")
    def step():
        return source()

    return step


def test_a_late_value_is_served_and_made_anew_once(ask, cache, clock, source):
    """Past its time, many callers get the old value at once while exactly one makes the new one."""
    assert ask() == 1
    clock.advance("2m")
    source.gate.clear()
    assert [ask() for _ in range(20)] == [1] * 20  # nobody waits, the same thread included
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: ask(), range(20))) == [1] * 20
    wait_for(lambda: source.calls == 2)
    source.gate.set()
    wait_for(lambda: not refreshing())
    assert ask() == 2
    assert source.calls == 2
    clock.advance("59s")
    assert ask() == 2


def test_a_late_value_counts_as_a_hit(ask, cache, clock, source):
    """Who is served without waiting had a hit."""
    ask()
    clock.advance("2m")
    ask()
    wait_for(lambda: not refreshing())
    assert (cache.stats().hits, cache.stats().misses) == (1, 1)


def test_a_value_that_is_too_late_is_waited_for(ask, clock, source):
    """After the time of grace the caller waits for the new value."""
    ask()
    clock.advance("1h")
    clock.advance("1m")
    assert ask() == 2
    assert refreshing() == []


def test_a_refresh_that_fails_leaves_the_old_value(cache, clock, source, caplog):
    """The exception is logged; it takes nobody's value, even where exceptions are kept."""

    def ask():
        return cache.get_or_compute("k", source, ttl="1m", stale="1h", errors="1h")

    ask()
    clock.advance("2m")
    source.error = ValueError("no")
    for _ in range(3):
        assert ask() == 1
        wait_for(lambda: not refreshing())
    assert "refreshing 'k' failed" in caplog.text
    source.error = None
    assert ask() == 1
    wait_for(lambda: not refreshing())
    assert ask() == source.calls


def test_a_refresh_of_a_closed_cache_ends_quietly(tmp_path, clock, source, caplog):
    """Closing while a value is made in the background is no failure."""
    with Cache(tmp_path / "c", clock=clock) as cache:
        cache.get_or_compute("k", source, ttl="1m", stale="1h")
        clock.advance("2m")
        source.gate.clear()
        cache.get_or_compute("k", source, ttl="1m", stale="1h")
    source.gate.set()
    wait_for(lambda: not refreshing())
    assert caplog.text == ""


@pytest.mark.parametrize("where", ["mem:1MB", "disk"])
def test_of_many_threads_one_computes(tmp_path, where, source):
    """Of threads that ask at once one computes, and all get its value; other names do not wait."""
    with Cache(where if where != "disk" else tmp_path / "c") as cache, ThreadPoolExecutor(8) as pool:
        source.gate.clear()
        calls = [pool.submit(cache.get_or_compute, "k", source) for _ in range(8)]
        wait_for(lambda: source.calls == 1)
        assert cache.get_or_compute("other", lambda: "free") == "free"
        source.gate.set()
        assert {call.result(10) for call in calls} == {1}
        assert source.calls == 1


def test_after_an_exception_another_goes_on(cache, source):
    """The one who led raises; each who waited tries in turn, and nobody hangs."""
    source.gate.clear()
    source.error = ValueError("no")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(cache.get_or_compute, "k", source) for _ in range(4)]
        wait_for(lambda: source.calls == 1)
        source.gate.set()
        assert all(isinstance(call.exception(10), ValueError) for call in calls)
    assert source.calls == 4
    source.error = None
    assert cache.get_or_compute("k", source) == 5


def test_a_computation_may_ask_for_its_own_name(cache):
    """Recursion does not wait for itself."""
    assert cache.get_or_compute("k", lambda: cache.get_or_compute("k", lambda: 1) + 1) == 2


CHILD = """
import os, sys, time
from vcache import Cache
place, log, pause_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
def compute():
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(pause_s)
    return "made"
with Cache(place) as cache:
    print(cache.get_or_compute("k", compute))
"""


def start(tmp_path, pause_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "c"), str(tmp_path / "log"), str(pause_s)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_many_processes_one_computes(tmp_path):
    """Six processes that ask for one cold name share one computation."""
    children = [start(tmp_path, 0.3) for _ in range(6)]
    assert [child.communicate(timeout=60)[0] for child in children] == ["made\n"] * 6
    assert len((tmp_path / "log").read_text().split()) == 1


def test_after_a_kill_another_goes_on(tmp_path):
    """A process that is killed while it computes leads no more: who waited computes."""
    log = tmp_path / "log"
    first = start(tmp_path, 600)
    try:
        wait_for(lambda: log.exists() and log.read_text(), timeout_s=30)
        second = start(tmp_path, 0)
        time.sleep(0.2)  # it waits for the lock, which nothing shows
        assert second.poll() is None
        first.send_signal(signal.SIGKILL)
        assert second.communicate(timeout=30)[0] == "made\n"
    finally:
        first.kill()
        first.communicate()
    assert log.read_text().split() == [str(first.pid), str(second.pid)]


def test_a_child_of_fork_works_by_itself(tmp_path):
    """After `fork` both processes read, write and compute, and each event is counted once."""
    with Cache(tmp_path / "c") as cache:
        cache.put("k", [1])
        for _ in range(5):
            cache.get("k")
        pid = os.fork()
        if pid == 0:
            try:
                ok = cache.get("k") == [1]
                ok &= cache.put("child", 2)
                ok &= cache.get_or_compute("computed", lambda: 3) == 3
                cache.close()
                os._exit(0 if ok else 1)
            except BaseException:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert cache.get("child") == 2
        assert cache.get("computed") == 3
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.puts) == (8, 1, 3)


def test_conditions_are_as_users_write_them(cache, clock):
    """Times and tags reach the entry of a value that was made."""
    making = Making.of(ttl="1h", stale=60, errors=None, tags=frozenset({"t"}))
    assert making == Making(nanoseconds("1h"), nanoseconds(60), None, frozenset({"t"}))
    cache.get_or_compute("k", lambda: time.sleep(0.002), ttl="1h", stale="1m", tags="t")
    found = cache.lookup("k")
    assert isinstance(found, Hit)
    entry = found.entry
    assert entry.expires_ns == clock() + nanoseconds("1h")
    assert entry.stale_until_ns == clock() + nanoseconds("61m")
    assert entry.tags == {"t"}
    assert entry.cost_ns >= 2_000_000
