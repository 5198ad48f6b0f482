"""A build as the command line asks for it, told to whom it wants to be told.

It knows no options of click's: a plain `vcache build` is read and carried out without it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vcache.cli.place import VCACHEFILE, Place
from vcache.cli.running import opened, stopping
from vcache.errors import GraphError, UsageError
from vcache.kit.data import NamedTuple

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.cli.recording import Recorder
    from vcache.cli.setup import Setup
    from vcache.dag.away import AwayExecutor
    from vcache.dag.errands import Answer, Errand
    from vcache.dag.events import Listener, RunEnded
    from vcache.dag.session import Build, Options
    from vcache.jobs.base import Queue
    from vcache.jobs.building.place import QueuePlace

__all__ = ["Words", "carry_out", "slots_of"]

_WRONG_FILE: Final = 2
_UNBOUNDED: Final = 4_096


class Words(NamedTuple):
    """What was asked for besides the runner's own options."""

    targets: tuple[str, ...]
    defines: Mapping[str, str] = MappingProxyType({})
    verbosity: int = 0
    profile: str | None = None
    metrics: str | None = None
    spans: str | None = None
    executor: str | None = None
    shows_warnings: bool = False
    queue: str | None = None


def slots_of(jobs: int | None) -> int | None:
    """What `-j` means to a runner: 0 sets no bound; None is what the machine has."""
    return None if jobs is None else jobs or _UNBOUNDED


def carry_out(
    setup: Setup, place: Place, options: Options, words: Words, *, no_cache: bool = False, watch: bool = False
) -> int:
    """Build, once or until Ctrl-C; the exit code. The working directory is the base from here on.

    Raises:
        GraphError: the build file is wrong, if no display has said so.
        UsageError: an option that does not fit.
    """
    os.chdir(place.base)
    with opened(setup, place.root, no_cache=no_cache) as cache:
        if watch:
            from vcache.cli.watch import News, watch_and_build

            news = News(place.base)
            return watch_and_build(
                place, cache, lambda: _once(setup, place, cache, options, words, news), news
            )
        return _once(setup, place, cache, options, words)


def _once(setup: Setup, place: Place, cache: Cache, options: Options, words: Words, *more: Listener) -> int:
    """One run."""
    from vcache.dag.session import Build, run_id

    run = run_id()
    with ExitStack() as stack:
        told = _listeners(setup, place, cache, run, options, words)
        listeners = [stack.enter_context(_closing(each)) for each in told]
        listeners += more
        executor = _executor(setup, cache, options, words, stack, run)
        if executor is not None:  # it must know what others make, to bring it to its workers
            listeners.append(executor)
        jobs = _JobsLater(setup, words.queue, run)
        stack.callback(jobs.close)
        work = Build(
            cache,
            base=place.base,
            listeners=listeners,
            options=options,
            executor=executor,
            jobs=jobs,
            run=run,
        )
        with stopping(work):
            try:
                ended = _carry_out(setup, work, place, words)
            except GraphError:
                if setup.is_quiet or setup.is_json:
                    raise
                return _WRONG_FILE  # the display has said why it stopped
    if setup.is_json:
        from vcache.cli.show import print_json

        print_json(_as_json(run, ended, listeners))
    return ended.status


def _carry_out(setup: Setup, work: Build, place: Place, words: Words) -> RunEnded:
    if place.is_ninja:
        if words.defines:
            raise UsageError(f"-D sets options of a {VCACHEFILE}: {place.file} has none")
        return work.ninja(place.file, words.targets)
    return work.vcachefile(
        place.file, words.targets, defines=words.defines, log_words=lambda: _log_words(setup)
    )


def _log_words(setup: Setup) -> tuple[str, ...]:
    """What leads `vcache logs` to the log store of this build, and to its cache, wherever it is run."""
    settings = setup.settings()
    words = ["--dir", os.path.abspath(settings.dir)]
    if settings.namespace:
        words += ["--namespace", settings.namespace]
    # Where builds write nothing down there may be logs all the same: it knows where.
    return (*words, "--logs", settings.logs_place) if settings.logs_place else tuple(words)


def _as_json(run: str, ended: RunEnded, listeners: Iterable[Listener]) -> dict[str, object]:
    from vcache.cli.recording import Recorder, Warnings

    warnings = next((each.warnings for each in listeners if isinstance(each, Recorder)), Warnings())
    return {
        "run": run,
        "status": ended.status,
        "run_count": ended.n_run,
        "hit_count": ended.n_hit,
        "up_to_date_count": ended.n_up_to_date,
        "failed_count": ended.n_failed,
        "saved_s": ended.saved_ns / 1e9,
        "warning_count": warnings.total,
        "cached_warning_count": warnings.cached,
        "error": ended.error,
    }


def _listeners(
    setup: Setup, place: Place, cache: Cache, run: str, options: Options, words: Words
) -> Iterator[Listener]:
    """Who is told, in this order: what counts comes before what shows the counts."""
    from vcache.cli import progress
    from vcache.cli.appending import appender
    from vcache.cli.recording import Recorder
    from vcache.dag import durations
    from vcache.dag.journal import Journal

    traced = None
    if words.spans is not None:
        from vcache.dag.telemetry import Traced, span_sink

        yield (traced := Traced([span_sink(words.spans)]))
    spans = None if traced is None else traced.span_of
    recorder = Recorder(place.base, run, opens=lambda: appender(setup), spans=spans)
    if not options.is_dry_run:
        yield recorder
    yield progress.listener(
        sys.stderr if setup.is_json else sys.stdout,
        verbosity=-1 if setup.is_quiet else words.verbosity,
        durations=durations.load(place.base),
        is_dry_run=options.is_dry_run,
        warnings=lambda: recorder.warnings,
        standing=(lambda: _standing(cache, recorder)) if words.shows_warnings else None,
    )
    if not options.is_dry_run:
        yield Journal(place.base, run)
    if words.profile is not None:
        from vcache.dag.profile import Profile

        yield Profile(words.profile)
    if words.metrics is not None:
        from vcache.dag.telemetry import Metered
        from vcache.metrics import Metrics

        yield Metered(Metrics(is_required=True), words.metrics)


def _standing(cache: Cache, recorder: Recorder) -> Iterator[tuple[str, bytes]]:
    """What was up to date and had warned, by name, with what it wrote then."""
    from vcache.dag.nodelogs import recall

    for name, said in recorder.standing.items():
        yield name, b"".join(data for _, _, data in recall(cache, said.log) or ())


@contextmanager
def _closing(listener: Listener) -> Iterator[Listener]:
    try:
        yield listener
    finally:
        close = getattr(listener, "close", None)
        if close is not None:
            close()


class _JobsLater:
    """Where job nodes are done. What queues need is loaded with the first of them."""

    def __init__(self, setup: Setup, address: str | None, run: str) -> None:
        self._setup, self._address, self._run_id = setup, address, run
        self._lock = threading.Lock()  # guards the next
        self._place: QueuePlace | None = None
        self._is_stopped = False

    def run(self, errand: Errand) -> Answer:
        """As `JobPlace.run`."""
        with self._lock:
            if self._place is None:
                from vcache.jobs.building.place import QueuePlace

                self._place = QueuePlace(
                    lambda: _opened_queue(self._setup, self._address), parent=self._run_id
                )
            place = self._place
        if self._is_stopped:
            place.stop()
        return place.run(errand)

    def stop(self) -> None:
        """As `JobPlace.stop`."""
        self._is_stopped = True
        if self._place is not None:
            self._place.stop()

    def close(self) -> None:
        """Let go of the queue, if one was needed."""
        if self._place is not None:
            self._place.close()


def _opened_queue(setup: Setup, address: str | None) -> Queue:
    from vcache.jobs.opening import open_queue

    settings = setup.settings()
    return open_queue(address or settings.queue_address, namespace=settings.namespace)


def _executor(
    setup: Setup, cache: Cache, options: Options, words: Words, stack: ExitStack, run: str
) -> AwayExecutor | None:
    """Where commands run; None for this machine."""
    url = words.executor
    if url in (None, "local") or options.is_dry_run:
        return None
    executor: AwayExecutor
    scheme = url.partition(":")[0]
    if scheme == "dask":
        from vcache.dag.dask import DaskExecutor

        executor = DaskExecutor(url, cache=cache, slots=options.jobs, env=options.env)
    elif scheme == "queue":
        from vcache.jobs.building.carrier import QueueExecutor, parse

        queue = _opened_queue(setup, parse(url).queue or words.queue)
        stack.callback(queue.close)
        executor = QueueExecutor(url, queue, cache=cache, slots=options.jobs, env=options.env, parent=run)
    else:
        raise UsageError(f"--executor {url!r}: write local, dask://HOST:PORT, or queue://[ADDRESS]")
    stack.callback(executor.close)
    return executor
