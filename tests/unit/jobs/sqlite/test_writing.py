"""Writes of several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.patience import until
from vcache.errors import StoreBusy, StoreClosed, StoreError, StoreUnavailable, UsageError
from vcache.jobs.models import Spec
from vcache.jobs.sqlite import SqliteQueue
from vcache.jobs.sqlite.asking import asked, submit
from vcache.jobs.sqlite.ledger import Ledger
from vcache.jobs.sqlite.writing import Writer
from vcache.jobs.states import State

Work = Callable[[Ledger], object]


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[SqliteQueue]:
    with SqliteQueue(tmp_path) as queue:
        yield queue


def together(writer: Writer, works: Sequence[Work]) -> list[object]:
    """What calls gave or raised that came while another one was being done: they are one transaction."""
    is_begun, goes_on = threading.Event(), threading.Event()

    def first(ledger: Ledger) -> None:
        is_begun.set()
        goes_on.wait()

    found: list[object] = [None] * len(works)

    def call(at: int) -> None:
        try:
            found[at] = writer.do(works[at])
        except BaseException as error:
            found[at] = error

    threads = [threading.Thread(target=writer.do, args=(first,))]
    threads[0].start()
    is_begun.wait()
    for at in range(len(works)):
        threads.append(threading.Thread(target=call, args=(at,)))
        threads[-1].start()
        until(partial(_waits, writer, at + 1))
    goes_on.set()
    for thread in threads:
        thread.join()
    return found


def _waits(writer: Writer, count: int) -> bool:
    return len(writer._pending) == count


def one(job_id: str) -> Work:
    many = asked([Spec(job_id, "mill")])

    def work(ledger: Ledger) -> object:
        return submit(ledger, many)

    return work


def test_calls_that_come_together_are_one_transaction(queue: SqliteQueue) -> None:
    """What several threads ask for while one writes is done at once, and each gets its own result."""
    begun: list[int] = []

    def committed() -> bool:
        begun.append(1)
        return False

    queue._writer._connected().set_commit_hook(committed)
    assert together(queue._writer, [one("a"), one("b"), one("c")]) == [["a"], ["b"], ["c"]]
    assert len(begun) <= 2  # the first one wrote nothing
    assert queue.stats().waiting == {("mill", 2): 3}


def test_a_call_that_fails_fails_alone(queue: SqliteQueue) -> None:
    """What one of them did before it failed is undone, its new kind too, and the others are kept."""

    def fail(ledger: Ledger) -> None:
        submit(ledger, asked([Spec("b", "bake")]))
        raise UsageError("no")

    def break_sql(ledger: Ledger) -> None:
        submit(ledger, asked([Spec("d", "bake")]))
        ledger.run("SELECT nothing FROM nowhere")

    found = together(queue._writer, [one("a"), fail, break_sql, one("c")])
    assert found[0] == ["a"]
    assert isinstance(found[1], UsageError)
    assert isinstance(found[2], StoreError)
    assert found[3] == ["c"]
    assert [job.id for job in queue.list(State.QUEUED).jobs] == ["a", "c"]
    queue.submit([Spec("b", "bake")])
    assert queue.stats().waiting == {("mill", 2): 2, ("bake", 2): 1}


def test_an_interrupt_undoes_its_call_and_the_next_goes_on(queue: SqliteQueue) -> None:
    """Who is interrupted while it leads undoes all, says so to those that it led, and leaves nothing locked."""

    def interrupt(ledger: Ledger) -> None:
        submit(ledger, asked([Spec("b", "mill")]))
        raise KeyboardInterrupt

    found = together(queue._writer, [interrupt, one("c")])
    assert isinstance(found[0], KeyboardInterrupt)
    assert isinstance(found[1], StoreUnavailable)
    assert queue.get(["b", "c"]) == [None, None]
    assert queue.submit([Spec("c", "mill")]) == ["c"]


def test_a_signal_handler_in_a_write_is_told(queue: SqliteQueue) -> None:
    """A call from within a write, as a signal handler makes it, is refused: it would wait for itself."""

    def handle(ledger: Ledger) -> None:
        with pytest.raises(StoreBusy, match="let it set a flag"):
            queue.submit([Spec("a", "mill")])

    queue._writer.do(handle)
    assert queue.submit([Spec("a", "mill")]) == ["a"]


def test_many_threads_lose_nothing(queue: SqliteQueue) -> None:
    """Threads that submit at once all get what they asked for."""

    def submit_some(number: int) -> None:
        for at in range(20):
            queue.submit([Spec(f"{number} {at}", f"kind {at % 3}")])

    threads = [threading.Thread(target=submit_some, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.stats().by_state[State.QUEUED] == 120
    assert sum(each.submitted for each in queue.stats().totals.values()) == 120


def test_a_closed_queue_says_so(tmp_path: Path) -> None:
    """After `close`, which may be called again, nothing is done any more."""
    queue = SqliteQueue(tmp_path)
    queue.close()
    queue.close()
    for use in (lambda: queue.submit([Spec("a", "mill")]), queue.stats, lambda: queue.get(["a"])):
        with pytest.raises(StoreClosed):
            use()
