"""One call of a logger, in CPU time of the thread that calls: ours through the ring, beside its peers to a file."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import thread_time_ns
from typing import Final

import loguru
import orjson
import structlog

from benchmarks.measure import Scale
from benchmarks.result import Compare, Figure, Row
from vcache.logs import Handler, JsonSink, Logger, Record, StoreSink

TITLE = "a call of a logger"

_TARGETS: Final = tuple(f"src/lib/module_{number % 97}/file_{number}.o" for number in range(1000))
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_PLAIN: Final = "compiled %s in %d ms: %s"
_MESSAGE: Final = "compiled a translation unit"
_NOTE = (
    "CPU of the calling thread; each call has a path, a number and a word. The ring is a file: its records survive "
    "kill -9 of the process, those of the peers' buffers do not"
)

Call = Callable[[int], object]


class _Nowhere:
    """Takes what is drained, and does nothing with it: the call is measured, not a store."""

    def append(self, records: Sequence[Record], *, sync: bool = True) -> object:
        return None


def run(scale: Scale, directory: Path) -> list[Row]:
    """The call through the ring against the standard library's, structlog's, picologging's and loguru's."""
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(side(directory / str(number)))
            for number, (name, side) in enumerate(_SIDES.items())
            if name != "picologging" or find_spec(name)
        }
        figures = _take_turns(sides, calls=scale.pick(4000, 50), rounds=scale.rounds)
    ours, stdlib = figures["vcache, ring"], figures["logging"]
    rows = [Row("a call, crash-proof", Compare.WITHIN, "µs", ours, stdlib, bound=0.2, note=_NOTE)]
    rows += [
        Row(f"a call, crash-proof, against {name}", Compare.WITHIN, "µs", ours, figures[name])
        for name in ("structlog with orjson", "picologging", "loguru")
        if name in figures
    ]
    others = (
        ("vcache, ring, new texts", "a call, crash-proof, whose texts were never said before"),
        ("vcache, Handler, ring", "a call of `logging` with our handler"),
        ("vcache, JSON", "a call, to a file of JSON lines"),
        ("vcache, below the level", "a call below the level"),
    )
    return [*rows, *(Row(what, Compare.WITHIN, "µs", figures[name], stdlib) for name, what in others)]


def _take_turns(sides: dict[str, Call], *, calls: int, rounds: int) -> dict[str, Figure]:
    """Mean CPU time per call of each round; `measure.take_turns` has the wall, where the drain has its share."""
    names = list(sides)
    means: dict[str, list[float]] = {name: [] for name in names}
    count = 0
    for number in range(-1, rounds):
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            call = sides[name]
            started = thread_time_ns()
            for each in range(count, count + calls):
                call(each)
            took = thread_time_ns() - started
            count += calls
            if number >= 0:
                means[name].append(took / calls / 1e3)
    return {name: Figure(name, tuple(each)) for name, each in means.items()}


@contextmanager
def _ring(path: Path) -> Iterator[Call]:
    sink = StoreSink(_Nowhere(), rings=path, keep_from="trace", patience_s=60)
    logger = Logger("gcc", sinks=[sink], run="0190a5", node="file.o")
    yield lambda n: logger.info(_MESSAGE, target=_TARGETS[n % 1000], ms=n, status="ok")
    sink.close()


@contextmanager
def _new_texts(path: Path) -> Iterator[Call]:
    sink = StoreSink(_Nowhere(), rings=path, keep_from="trace", patience_s=60)
    logger = Logger("gcc", sinks=[sink], run="0190a5", node="file.o")
    yield lambda n: logger.info(f"compiled unit {n}", target=f"src/lib/{n}.o", ms=n, status="ok")  # noqa: G004 - that is the point
    sink.close()


@contextmanager
def _handler(path: Path) -> Iterator[Call]:
    sink = StoreSink(_Nowhere(), rings=path, keep_from="trace", patience_s=60)
    logger = logging.getLogger("vcache-bench-handler")
    handler = Handler(sinks=[sink], run="0190a5", node="file.o")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield lambda n: logger.info(_PLAIN, _TARGETS[n % 1000], n, "ok")
    logger.removeHandler(handler)
    sink.close()


@contextmanager
def _json(path: Path) -> Iterator[Call]:
    sink = JsonSink(path)
    logger = Logger("gcc", sinks=[sink], run="0190a5", node="file.o")
    yield lambda n: logger.info(_MESSAGE, target=_TARGETS[n % 1000], ms=n, status="ok")
    sink.close()


@contextmanager
def _silent(path: Path) -> Iterator[Call]:
    sink = JsonSink(os.devnull)
    logger = Logger("gcc", sinks=[sink], level="error")
    yield lambda n: logger.info(_MESSAGE, target=_TARGETS[n % 1000], ms=n, status="ok")
    sink.close()


@contextmanager
def _stdlib(path: Path) -> Iterator[Call]:
    logger = logging.getLogger("vcache-bench")
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield lambda n: logger.info(_PLAIN, _TARGETS[n % 1000], n, "ok")
    logger.removeHandler(handler)
    handler.close()


@contextmanager
def _picologging(path: Path) -> Iterator[Call]:
    import picologging  # not for every Python

    logger = picologging.Logger("gcc", picologging.DEBUG)
    handler = picologging.FileHandler(str(path))
    handler.setFormatter(picologging.Formatter(_FORMAT))
    logger.addHandler(handler)
    yield lambda n: logger.info(_PLAIN, _TARGETS[n % 1000], n, "ok")
    handler.close()


@contextmanager
def _structlog(path: Path) -> Iterator[Call]:
    with open(path, "wb") as file:
        logger = structlog.wrap_logger(
            structlog.BytesLogger(file),
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(serializer=orjson.dumps),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            cache_logger_on_first_use=True,
        ).bind(run="0190a5", node="file.o")
        yield lambda n: logger.info(_MESSAGE, target=_TARGETS[n % 1000], ms=n, status="ok")


@contextmanager
def _loguru(path: Path) -> Iterator[Call]:
    logger = loguru.logger
    logger.remove()
    number = logger.add(path, format="{time} {level} {name} {message}")
    yield partial(_by_loguru, logger)
    logger.remove(number)


def _by_loguru(logger: loguru.Logger, n: int) -> None:
    logger.info("compiled {} in {} ms: {}", _TARGETS[n % 1000], n, "ok")  # noqa: PLE1205 - braces, as loguru has it


_SIDES: Final[dict[str, Callable[[Path], AbstractContextManager[Call]]]] = {
    "vcache, ring": _ring,
    "logging": _stdlib,
    "structlog with orjson": _structlog,
    "picologging": _picologging,
    "loguru": _loguru,
    "vcache, ring, new texts": _new_texts,
    "vcache, Handler, ring": _handler,
    "vcache, JSON": _json,
    "vcache, below the level": _silent,
}
