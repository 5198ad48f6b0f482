"""The conformance suite of queues of jobs: the contract of `vcache.jobs.base`, as tests.

A queue is tested by a class that inherits `QueueTests`, provides a fixture `make_queue`, which opens the
queue on one and the same place as often as it is called (empty at first, closed afterwards by who made it),
and says how its clock is moved. Example:

    class TestMyQueue(QueueTests):
        @pytest.fixture
        def make_queue(self, tmp_path):
            clock = FakeClock()
            with contextlib.ExitStack() as stack:
                yield lambda: stack.enter_context(MyQueue(tmp_path, clock=clock))

        def advance(self, queue, seconds):
            queue.clock.advance(seconds)
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vcache.jobs.base import Queue
from vcache.testing.queue_laws.asking import AskingLaws
from vcache.testing.queue_laws.passing import PassingLaws
from vcache.testing.queue_laws.sharing import SharingLaws
from vcache.testing.queue_laws.working import WorkingLaws

__all__ = ["QueueTests"]


class QueueTests(AskingLaws, WorkingLaws, PassingLaws, SharingLaws):
    """The laws of `vcache.jobs.base.Queue`."""

    @pytest.fixture
    def queue(self, make_queue: Callable[[], Queue]) -> Queue:
        """A queue that is empty."""
        return make_queue()
