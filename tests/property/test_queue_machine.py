"""Every queue agrees with a small model of one, whatever is done to it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.clocks import move_redis_clock
from tests.servers import redis_server
from vcache.jobs.base import Queue
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.redis import RedisQueue
from vcache.jobs.sqlite import SqliteQueue
from vcache.kit.ids import uuid7
from vcache.testing import FakeClock
from vcache.testing.queue_machine import queue_machine


def _machine(
    make: Callable[[ExitStack, FakeClock], Callable[[], Queue]],
) -> type[RuleBasedStateMachine]:
    """Of queues that go by a clock of ours."""
    clocks: list[FakeClock] = []

    def build(stack: ExitStack) -> Callable[[], Queue]:
        clocks[:] = [FakeClock()]
        open_one = make(stack, clocks[0])
        return lambda: stack.enter_context(open_one())  # type: ignore[arg-type]

    return queue_machine(build, lambda _, seconds: clocks[0].advance(seconds))


def _memory(_: ExitStack, clock: FakeClock) -> Callable[[], Queue]:
    return lambda: MemoryQueue(clock=clock)


def _sqlite(stack: ExitStack, clock: FakeClock) -> Callable[[], Queue]:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return lambda: SqliteQueue(directory / "jobs", clock=clock)


def _settings(max_examples: int, steps: int = 30) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=max_examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
    )


TestMemory = _machine(_memory).TestCase
TestMemory.settings = _settings(40)
TestSqlite = _machine(_sqlite).TestCase
TestSqlite.settings = _settings(10)


@pytest.mark.slow
def test_redis_agrees(tmp_path: Path) -> None:
    """a campaign on a server of our own, each way in a namespace of its own"""
    with redis_server(tmp_path) as server:

        def build(stack: ExitStack) -> Callable[[], Queue]:
            namespace = uuid7.text()
            address = f"redis+unix://{server.socket}"
            return lambda: stack.enter_context(RedisQueue.at(address, namespace=namespace))

        run_state_machine_as_test(queue_machine(build, move_redis_clock), settings=_settings(200))


@pytest.mark.slow
@pytest.mark.parametrize("make", [_memory, _sqlite])
def test_long_ways_agree(make: Callable[[ExitStack, FakeClock], Callable[[], Queue]]) -> None:
    """a campaign"""
    run_state_machine_as_test(_machine(make), settings=_settings(1_000, 60))
