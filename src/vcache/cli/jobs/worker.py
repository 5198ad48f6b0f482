"""`vcache worker`: run what is asked for, until told to stop.

The supervisor's process loads this too, and lives long: what only a worker needs is loaded where it is used.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import click

from vcache.cli.jobs.completing import complete_kind
from vcache.cli.jobs.where import address_of, log_store, opened, queue_option
from vcache.cli.setup import Setup, shared_options
from vcache.errors import StoreError, UsageError
from vcache.kit.data import NamedTuple
from vcache.kit.units import seconds, size_bytes

if TYPE_CHECKING:
    from vcache.jobs.base import Queue
    from vcache.jobs.worker import Worker
    from vcache.tracing import SpanSink

__all__ = ["is_empty", "worker"]

_LOOK_S: Final = 0.2  # of a worker that is to end when nothing is left
_OF_FLEET: Final = "_VCACHE_WORKER_OF_FLEET"  # set for the processes under a supervisor
_MODES: Final = ("auto", "async", "threads", "processes")


class Wanted(NamedTuple):
    """What the options say."""

    modules: tuple[str, ...]
    plugins: bool
    kinds: tuple[str, ...]
    concurrency: int
    mode: str
    lease_s: float
    grace_s: float
    most_bytes: int
    most_jobs: int
    name: str
    metrics: str | None
    spans: str | None
    log_place: str | None
    is_burst: bool
    fires: bool
    address: str | None


@click.command(short_help="Run jobs.")
@click.option(
    "--module",
    "-m",
    "modules",
    metavar="MODULE",
    multiple=True,
    help="Where handlers are: shop.jobs, or a file; may be given several times.",
)
@click.option("--no-plugins", is_flag=True, help="Without the handlers of installed packages.")
@click.option(
    "--kinds",
    "-k",
    metavar="A,B.*",
    shell_complete=complete_kind,
    help="Only these; * stands for anything. By default all that there are handlers for.",
)
@click.option(
    "--concurrency",
    "-c",
    metavar="N",
    type=click.IntRange(min=1),
    default=None,
    help="So many at the same time. By default 100 coroutines, 32 threads, or as many processes as CPUs.",
)
@click.option(
    "--mode",
    type=click.Choice(_MODES),
    default="auto",
    show_default=True,
    help="auto: coroutines on an event loop, functions in threads.",
)
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="So many worker processes, under a supervisor that replaces one that crashes. 0: work in this process, "
    "for who has a supervisor of their own.",
)
@click.option(
    "--lease",
    metavar="TIME",
    default="10s",
    show_default=True,
    help="After so much silence others take its jobs.",
)
@click.option(
    "--grace",
    metavar="TIME",
    default="30s",
    show_default=True,
    help="So long may go on what runs when it is told to stop.",
)
@click.option("--memory-limit", metavar="SIZE", help="When it takes more it begins anew, such as 500MB.")
@click.option("--max-jobs", metavar="N", type=click.IntRange(min=1), help="After so many it begins anew.")
@click.option(
    "--name", metavar="NAME", default="", help="Who it says it is: NAME@HOST/PID; by default HOST/PID."
)
@click.option("--metrics", metavar="HOST:PORT", help="Serve metrics for Prometheus at /metrics there.")
@click.option(
    "--spans",
    metavar="FILE",
    help="Write a span per attempt as JSON lines; otel: send them to the exporter of OpenTelemetry.",
)
@click.option(
    "--log-store",
    "log_place",
    metavar="PLACE",
    help="Where what jobs say is kept: a directory, an address, or off. "
    "By default as the setting `logs` says.",
)
@click.option("--schedules", is_flag=True, help="Fire schedules as well, as `vcache schedule run` does.")
@click.option("--burst", is_flag=True, help="End when nothing is left to do.")
@queue_option
@shared_options(json=False)
@click.pass_obj
def worker(
    setup: Setup, *, modules: tuple[str, ...], no_plugins: bool, kinds: str | None, concurrency: int | None, mode: str, processes: int,
    lease: str, grace: str, memory_limit: str | None, max_jobs: int | None, name: str, metrics: str | None,
    spans: str | None, log_place: str | None, burst: bool, schedules: bool, address: str | None,
) -> int:  # fmt: skip
    """Take jobs out of a queue and run their handlers, until told to stop.

    \b
    vcache worker --module shop.jobs
    vcache worker --module shop.jobs --kinds 'email.*' --concurrency 200 --metrics 127.0.0.1:9100

    Handlers are functions with @job('kind') of the modules, which may lie in the working directory, and of
    installed packages' entry points in the group `vcache.handlers`.

    A supervisor stands above the worker: it replaces one that crashes, and has its jobs given to others at once.
    Who has a supervisor of their own gives --processes 0.

    SIGTERM and Ctrl-C drain: nothing more is taken, what runs has --grace to end; a second one gives back at
    once what runs. With --max-jobs and --memory-limit it drains, and begins anew in its place. With --burst it ends when nothing of its kinds waits or is to be tried again; what is
    delayed does not count.
    """  # noqa: D301 - click keeps such lines as they are
    wanted = Wanted(
        modules, not no_plugins, _names(kinds), concurrency or 0, mode, seconds(lease), seconds(grace),
        size_bytes(memory_limit or 0), max_jobs or 0, name, metrics, spans, log_place, burst, schedules, address,
    )  # fmt: skip
    setup.speak_up()
    if not processes or os.environ.pop(_OF_FLEET, ""):  # what handlers start is not of it
        return _run(setup, wanted, is_of_fleet=bool(processes))
    if metrics is not None and processes > 1:
        raise UsageError(
            f"--metrics is of one process, --processes {processes} of several: start several workers, each with "
            "a port of its own"
        )
    return _fleet(setup, wanted, processes)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _fleet(setup: Setup, wanted: Wanted, size: int) -> int:
    """The same command in so many processes, under a supervisor; its exit code."""
    from vcache.jobs.worker.fleet import run_fleet

    address, namespace = address_of(setup, wanted.address), setup.settings().namespace

    def opens() -> Queue:
        from vcache.jobs.opening import open_queue

        return open_queue(address, namespace=namespace)

    return run_fleet(
        sys.orig_argv, size, queue=opens, name=_name(wanted),
        grace_s=wanted.grace_s, env={**os.environ, _OF_FLEET: "1"},
    )  # fmt: skip


def _name(wanted: Wanted) -> str:
    """What its processes are called: a name alone may be that of others elsewhere, with the same process ids."""
    return f"{wanted.name}@{socket.gethostname()}" if wanted.name else ""


def _run(setup: Setup, wanted: Wanted, *, is_of_fleet: bool) -> int:
    from vcache.jobs.worker import Ended, Worker, load_handlers, worker_name
    from vcache.jobs.worker.fleet import RECYCLE

    handlers = load_handlers(wanted.modules, plugins=wanted.plugins)
    if not len(handlers):
        raise UsageError(
            "which handlers? Give --module MODULE, where functions are decorated with @job('kind')"
        )
    with ExitStack() as stack:
        queue = stack.enter_context(opened(setup, wanted.address))
        log = log_store(setup, wanted.log_place, stack)
        metrics = None
        if wanted.metrics is not None:
            from vcache.cli.jobs.exposing import Depths, exposed, place_in
            from vcache.metrics import Metrics

            metrics = Metrics(is_required=True)
            port = stack.enter_context(exposed(place_in(wanted.metrics), Depths(queue, metrics).text))
            setup.note(f"metrics are at port {port}")
        made = Worker(
            queue, handlers, kinds=wanted.kinds or None, concurrency=wanted.concurrency, mode=wanted.mode,
            lease_s=wanted.lease_s, grace_s=wanted.grace_s, name=worker_name(name=_name(wanted)), most_jobs=wanted.most_jobs,
            most_bytes=wanted.most_bytes, log=log, metrics=metrics,
            spans=_spans(wanted.spans, stack), address=address_of(setup, wanted.address),
        )  # fmt: skip
        kinds = handlers.matching(wanted.kinds) if wanted.kinds else handlers.kinds
        setup.note(f"{made.name} works for {queue.info.name}: {' '.join(kinds)}")
        if wanted.is_burst:
            stack.enter_context(_ending_when_empty(made, queue, kinds))
        if wanted.fires:
            from vcache.cli.jobs.firing import teller
            from vcache.jobs.schedules import Scheduler

            stack.enter_context(Scheduler(queue, on_fired=teller(setup.note, log)))
        gc.enable()  # commands live too short for it (`app.main`); handlers may leave circles behind
        gc.freeze()  # what is there now stays: the collector need not walk it again and again
        ended = made.run()
    if ended is Ended.RECYCLE and is_of_fleet:
        return RECYCLE
    if ended is Ended.RECYCLE:
        setup.note(f"{made.name} begins anew, having run its jobs or taken its memory")
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - the words that this process was started with
    return 0


def _spans(where: str | None, stack: ExitStack) -> SpanSink | None:
    """Where spans of attempts go, until the stack's end."""
    if where is None:
        return None
    from vcache.dag.telemetry import span_sink

    sink = span_sink(where)
    stack.callback(sink.close)
    return sink


@contextmanager
def _ending_when_empty(made: Worker, queue: Queue, kinds: Sequence[str]) -> Iterator[None]:
    """Drain the worker when nothing of its kinds is left to do."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_LOOK_S):
            try:
                if is_empty(queue, made.session, kinds):
                    made.drain()
                    return
            except StoreError:
                continue  # the worker says what is wrong

    thread = threading.Thread(target=watch, name="vcache-worker-burst", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def is_empty(queue: Queue, session: str, kinds: Sequence[str]) -> bool:
    """Whether nothing of these kinds may start, is to be tried again, or is held by the session."""
    from vcache.jobs.states import State

    found = queue.stats()  # one look at both: what was claimed is no more waiting, but held
    if not session or any(count for (kind, _), count in found.waiting.items() if kind in kinds):
        return False
    if any(each.n_held for each in found.sessions if each.id == session):
        return False
    return not any(queue.list(State.RETRY, kind=kind, limit=1).jobs for kind in kinds)
