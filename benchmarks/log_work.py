"""The records that the benchmark of log stores is made of, and what is asked of them.

2,000,000 of about 200 bytes as JSON in full: two days of builds, eleven sources, messages of eight shapes.
They are the same in every run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["FIELDS", "QUERIES", "START_US", "SUBSTRING", "WORD", "Asked", "made", "write"]

START_US: Final = 1_760_000_000_000_000
FIELDS: Final = ("time", "level", "source", "host", "node", "trace", "took", "message")
QUERIES: Final = (
    "rare", "common", "token", "trace", "substring", "word", "histogram", "last", "id",
)  # fmt: skip
"""What each engine is asked by these names, see `Asked`."""
SUBSTRING: Final = "iled src/mod12/fi"
WORD: Final = "timeout"

_SPAN_US: Final = 2 * 86_400_000_000
_RARE_TOKENS: Final = 40  # of ten different ones
_SOURCES: Final = [
    name
    for name, share in (
        ("gcc", 30),
        ("ld", 6),
        ("cmake", 4),
        ("pytest", 20),
        ("make", 14),
        ("nginx", 12),
        ("kernel", 4),
        ("sshd", 2),
        ("postgres", 6),
        ("cron", 1),
        ("redis", 1),
    )
    for _ in range(share)
]
_LEVELS: Final = ((0.72, "info"), (0.86, "debug"), (0.97, "warning"), (0.9995, "error"), (1.0, "critical"))
_FILES: Final = [f"src/mod{number % 40}/file{number}.c" for number in range(3000)]
_FUNCTIONS: Final = [f"fn_{number}" for number in range(500)]
_HOSTS: Final = [f"build-{number:02d}" for number in range(12)]
_JOBS: Final = 64  # that run at once, each with a trace id
_JOB_ENDS: Final = 0.12

Draw = Callable[[random.Random, str, int], str]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the queries look for.

    Attributes:
        number: of the record that is looked up by its id, from 0 on.
        trace: its trace id.
        token: a word that few messages have.
    """

    number: int
    trace: str
    token: str


def made(count: int) -> Iterator[dict[str, object]]:
    """The records, in the order of their times, which are microseconds since the epoch."""
    draw = random.Random(7)
    time_us, every = START_US, max(1, count // _RARE_TOKENS)
    traces = [f"{draw.getrandbits(128):032x}" for _ in range(_JOBS)]
    for number in range(count):
        time_us += draw.randrange(_SPAN_US // count)
        if draw.random() < _JOB_ENDS:
            traces[draw.randrange(_JOBS)] = f"{draw.getrandbits(128):032x}"
        which, file = draw.random(), draw.choice(_FILES)
        message = draw.choice(_SHAPES)(draw, file, number)
        if number % every == every // 2:
            message += f" raretoken{number // every % 10}"
        yield {
            "time": time_us,
            "level": next(level for bound, level in _LEVELS if which < bound),
            "source": draw.choice(_SOURCES),
            "host": draw.choice(_HOSTS),
            "node": file,
            "trace": draw.choice(traces),
            "took": round(draw.expovariate(0.02), 3),
            "message": message,
        }


def write(path: Path, count: int) -> Asked:
    """The records as JSON lines, and what the queries look for among them."""
    import orjson

    wanted, trace = count * 5 // 8 + 1, ""
    with path.open("wb") as file:
        for number, record in enumerate(made(count)):
            file.write(orjson.dumps(record) + b"\n")
            if number == wanted:
                trace = str(record["trace"])
    return Asked(wanted, trace, "raretoken3")


def _compiled(draw: random.Random, file: str, _: int) -> str:
    return f"compiled {file} in {draw.randrange(20, 9000)} ms"


def _unused(draw: random.Random, file: str, _: int) -> str:
    return f"unused variable '{draw.choice(_FUNCTIONS)}' declared at line {draw.randrange(1, 4000)} of {file}"


def _request(draw: random.Random, _: str, __: int) -> str:
    item, status = draw.randrange(100_000), draw.choice((200, 200, 200, 404, 500))
    return f"request GET /api/v1/items/{item} finished with status {status} after {draw.randrange(1, 900)} ms"


def _connection(draw: random.Random, _: str, __: int) -> str:
    port = draw.randrange(1024, 65535)
    return f"connection from 10.0.{draw.randrange(256)}.{draw.randrange(256)} port {port} accepted"


def _cache_hit(draw: random.Random, _: str, __: int) -> str:
    return f"cache hit for {draw.getrandbits(64):016x} size {draw.randrange(100, 1_000_000)}"


def _test(draw: random.Random, _: str, __: int) -> str:
    return f"test {draw.choice(_FUNCTIONS)} passed"


def _linking(draw: random.Random, _: str, __: int) -> str:
    return f"linking target bin/app{draw.randrange(50)} with {draw.randrange(2, 300)} objects"


def _worker(draw: random.Random, _: str, number: int) -> str:
    worker = draw.randrange(64)
    if draw.random() < 0.3:
        return f"worker {worker} {WORD} while waiting for lock {draw.choice(_FUNCTIONS)}"
    return f"worker {worker} ready for job {number}"


_SHAPES: Final[tuple[Draw, ...]] = (
    _compiled, _unused, _request, _connection, _cache_hit, _test, _linking, _worker,
)  # fmt: skip
