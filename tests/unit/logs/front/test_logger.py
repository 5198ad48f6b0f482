"""Loggers: what they say arrives, with its fields, at the sinks it is meant for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.logs.front.keeping import Kept, Store
from vcache.errors import UsageError
from vcache.logs import Logger, Redactor, Sink, StoreSink, configure, context, set_level
from vcache.logs.front.process import PROCESS
from vcache.logs.record import Mark
from vcache.query.levels import DEBUG, ERROR, INFO, NOTE, WARNING
from vcache.tracing import SpanContext


def wrong(value: object) -> Any:
    """What a type checker would refuse."""
    return value


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """What a test configures ends with it."""
    lanes, level, redactor = PROCESS.lanes, PROCESS.level, PROCESS.redactor
    yield
    PROCESS.lanes, PROCESS.level, PROCESS.redactor = lanes, level, redactor
    PROCESS.changed()


@pytest.fixture(params=["sink", "ring", "file"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Sink, Kept | Store]]:
    """A sink and where its records arrive: the long way, and through a ring."""
    if request.param == "sink":
        kept = Kept()
        yield kept, kept
        return
    store = Store()
    sink = StoreSink(store, rings=tmp_path if request.param == "file" else None)
    yield sink, store
    sink.close()


def arrived(sink: Sink, where: Kept | Store) -> Kept | Store:
    if isinstance(sink, StoreSink):
        sink.flush()
    return where


def test_every_method_says_its_level(both):
    """debug, info, note, warning, error, critical and log say a message at their level, with fields."""
    sink, where = both
    logger = Logger("gcc", sinks=[sink], level="trace", run="r1")
    logger.debug("one", target="a.o")
    logger.info("two", ms=1.5)
    logger.note("three", is_it=True)
    logger.warning("four", count=-1)
    logger.error("five")
    logger.critical("six")
    logger.log("trace", "seven")
    logger.log(14, "eight")
    said = [
        (each.level, each.source, each.message, dict(each.fields)) for each in arrived(sink, where).records
    ]
    assert said == [
        (5, "gcc", "one", {"run": "r1", "target": "a.o"}),
        (9, "gcc", "two", {"run": "r1", "ms": 1.5}),
        (10, "gcc", "three", {"run": "r1", "is_it": True}),
        (13, "gcc", "four", {"run": "r1", "count": -1}),
        (17, "gcc", "five", {"run": "r1"}),
        (21, "gcc", "six", {"run": "r1"}),
        (1, "gcc", "seven", {"run": "r1"}),
        (14, "gcc", "eight", {"run": "r1"}),
    ]


def test_values_of_any_kind(both):
    """What a record cannot hold as it is becomes text, and nothing a program gives makes a logger raise."""
    sink, where = both

    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    class Text(str):
        __slots__ = ()

    endless: list[object] = []
    endless.append(endless)
    logger = Logger("x", sinks=[sink])
    logger.info("m", path=Path("/a b"), big=1 << 70, none=None, nested={"a": {"b": 1}}, many=[1, "x"])
    logger.info("odd", odd=Odd(), endless=endless)
    logger.info(Text("text"), text=Text("t"))
    logger.info("bytes \udc80", other="\udcff")
    logger.info(17)  # type: ignore[arg-type]  # what people do
    records = arrived(sink, where).records
    assert records[0].fields == {"path": "/a b", "big": str(1 << 70), "nested.a.b": 1, "many": '[1, "x"]'}
    assert "cannot be shown" in str(records[1].fields["odd"])
    assert (records[2].message, dict(records[2].fields)) == ("text", {"text": "t"})
    assert type(records[2].message) is str
    assert (records[3].message, dict(records[3].fields)) == ("bytes \udc80", {"other": "\udcff"})
    assert records[4].message == "17"


class Odd:
    """What cannot be shown in any way."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise ValueError("no equal")

    __hash__: Any = None


def test_nothing_that_is_said_raises(both):
    """A program does not fail for what it logs."""
    sink, where = both
    log = Logger("app", sinks=[sink])
    log.info(wrong(Odd()))
    log.info("field", odd=Odd(), within=[Odd()])
    log.info("long", n=10**5000)
    with context(odd=Odd()):
        log.bind(odd=Odd()).info("around")
    log.error("cause", exc_info=ValueError(Odd()))
    assert arrived(sink, where).messages == ["<Odd that cannot be shown>", "field", "long", "around", "cause"]
    assert where.records[1].fields["odd"] == "<Odd that cannot be shown>"


@pytest.mark.parametrize("source", [None, 5, b"app"])
def test_a_source_that_is_none(source):
    """It is said where the logger is made, not by a store later."""
    with pytest.raises(UsageError, match="source="):
        Logger(source)


def test_a_value_is_the_same_wherever_it_is_said(both):
    """A path bound to a logger, said in a context, and given to a call."""
    sink, where = both
    log = Logger("app", sinks=[sink], one=Path("/a"))
    with context(two=Path("/a")):
        log.bind(three=Path("/a")).info("m", four=Path("/a"))
    fields = arrived(sink, where).records[0].fields
    assert [fields[name] for name in ("one", "two", "three", "four")] == ["/a"] * 4


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: configure(sinks=[wrong(5)]),
        lambda: configure(sinks=[wrong(Kept)]),
        lambda: configure(redactor=wrong(5)),
        lambda: Logger("app", sinks=[wrong(5)]),
        lambda: Redactor(names="pin"),
        lambda: Redactor(patterns="x+"),
        lambda: context(wrong({"a": 1})),
    ],
)
def test_misuse_is_said(misuse):
    """With the value, and what to give."""
    with pytest.raises(UsageError, match="give"):
        misuse()


def test_levels(both):
    """A logger's own level comes before the process's, and a change of that holds at once."""
    sink, where = both
    own, other = Logger("own", sinks=[sink], level="debug"), Logger("other", sinks=[sink])
    for level in ("info", "error", "debug"):
        set_level(level)
        for logger in (own, other):
            logger.debug(f"debug at {level}")  # noqa: G004 - it is no logger of logging
            logger.warning(f"warning at {level}")  # noqa: G004 - as above
    assert [f"{each.source} {each.message}" for each in arrived(sink, where).records] == [
        "own debug at info", "own warning at info", "other warning at info",
        "own debug at error", "own warning at error",
        "own debug at debug", "own warning at debug", "other debug at debug", "other warning at debug",
    ]  # fmt: skip
    assert own.is_enabled("debug") and not Logger("none", sinks=[]).is_enabled("critical")


def test_each_sink_has_its_level():
    """One record goes to the sinks whose level it reaches."""
    fine, coarse = Kept(), Kept(level=ERROR)
    logger = Logger("x", sinks=[fine, coarse])
    logger.info("a")
    logger.error("b")
    assert (fine.messages, coarse.messages) == (["a", "b"], ["b"])


def test_configure_reaches_loggers_that_are_there():
    """A module's logger, made and used before, goes where the program says later."""
    first, second = Kept(), Kept()
    logger = Logger("early")
    configure(sinks=[first], level="info")
    logger.info("a")
    configure(sinks=[second], level="warning")
    logger.info("b")
    logger.warning("c")
    assert (first.messages, second.messages) == (["a"], ["c"])
    assert first.is_closed and not second.is_closed


def test_bound_fields_and_context(both):
    """The fields of a call come before those of the context, and these before those that are bound."""
    sink, where = both
    logger = Logger("x", sinks=[sink], a="bound", b="bound", c="bound").bind(d="bound")
    with context(b="context", c="context"), context(e="inner"):
        logger.info("m", c="call")
    logger.info("n")
    first, second = arrived(sink, where).records
    assert first.fields == {"a": "bound", "b": "context", "c": "call", "d": "bound", "e": "inner"}
    assert second.fields == {"a": "bound", "b": "bound", "c": "bound", "d": "bound"}


def test_a_context_is_of_its_thread(both):
    """What another thread says does not have its fields."""
    sink, where = both
    logger = Logger("x", sinks=[sink])
    with context(node="a.o"):
        thread = threading.Thread(target=logger.info, args=("there",))
        thread.start()
        thread.join()
        logger.info("here")
    assert [dict(each.fields) for each in arrived(sink, where).records] == [{}, {"node": "a.o"}]


def test_spans(both):
    """A span of vcache.tracing and the current one of OpenTelemetry are fields of what is said within."""
    from opentelemetry.sdk.trace import TracerProvider

    sink, where = both
    logger = Logger("x", sinks=[sink])
    ours = SpanContext.below(None)
    with context(ours, job=1):
        logger.info("ours")
    with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
        logger.info("theirs")
    logger.info("none")
    first, second, third = arrived(sink, where).records
    assert first.fields == {"job": 1, "trace_id": ours.trace_id, "span_id": ours.span_id}
    known = span.get_span_context()
    assert second.fields == {"trace_id": f"{known.trace_id:032x}", "span_id": f"{known.span_id:016x}"}
    assert third.fields == {}


def test_exceptions(both):
    """`exception`, and `exc_info` of any method, say type, message and stack."""
    sink, where = both
    logger = Logger("x", sinks=[sink])
    try:
        raise KeyError("k")
    except KeyError as error:
        logger.exception("failed", target="a.o")
        logger.warning("known", exc_info=error)
        kept = error
    logger.info("later", exc_info=kept)
    logger.info("none", exc_info=True)  # noqa: LOG014 - nothing is being handled
    first, second, third, fourth = arrived(sink, where).records
    assert (first.level, first.fields["error.type"], first.fields["error.message"]) == (
        ERROR,
        "KeyError",
        "'k'",
    )
    assert 'raise KeyError("k")' in str(first.fields["error.stack"])
    assert (second.level, third.level) == (WARNING, INFO)
    assert second.fields["error.type"] == third.fields["error.type"] == "KeyError"
    assert fourth.fields == {}


def test_secrets(both):
    """Names and texts that say so are redacted and marked, wherever they stand: call, context or bound."""
    sink, where = both
    logger = Logger("x", sinks=[sink], api_key="k-bound").bind(auth="k-auth")
    with context(password="k-context"):
        logger.info(
            "GET https://me:k-url@host/x", token="k-token", nested={"cookie": "k-cookie"}, path="fine"
        )
        logger.info("plain", header="Authorization: Bearer k-bearer.12345")
    records = arrived(sink, where).records
    assert "k-" not in repr(records)
    assert all(each.marks & Mark.REDACTED for each in records)
    assert records[0].fields["path"] == "fine"
    assert records[0].message == "GET https://me:[REDACTED]@host/x"


def test_ones_own_secrets(both):
    """A redactor of one's own is asked for everything."""
    sink, where = both
    configure(
        redactor=Redactor(names=["Pin"], patterns=[r"card (\d+)"], also=lambda text: text.replace("Bob", "B"))
    )
    Logger("x", sinks=[sink]).info("card 4711 of Bob", pin=1234, note="Bob")
    record = arrived(sink, where).records[0]
    assert record.message == "card [REDACTED] of B"
    assert record.fields == {"pin": "[REDACTED]", "note": "B"}


def test_where_it_was_called(both):
    """A located logger says file, line and function, of whichever method."""
    sink, where = both
    logger = Logger("x", sinks=[sink]).located()
    logger.info("a")
    logger.log("note", "b")
    try:
        raise ValueError
    except ValueError:
        logger.exception("c")
    for each in arrived(sink, where).records:
        assert each.fields["code.file"] == __file__
        assert each.fields["code.function"] == "test_where_it_was_called"


def test_limits(both):
    """Each call site has its own bucket; what was held back is said by the next one that passes."""
    sink, where = both
    now = [0.0]
    logger = Logger("x", sinks=[sink]).limited(1, 2)
    limits = logger._limits
    assert limits is not None
    limits._monotonic = lambda: now[0]

    def busy() -> None:
        logger.info("busy", n=1)

    for _ in range(5):
        busy()
    logger.info("other")
    assert limits.held_back == 3
    now[0] = 1.5
    busy()
    records = arrived(sink, where).records
    assert sum(each.repeats for each in records if each.message == "busy") == 3
    assert [each.message for each in records if "held_back" in each.fields] == ["busy"]
    assert records[-1].fields == {"n": 1, "held_back": 3}


@pytest.mark.parametrize("level", ["loud", -1, 25])
def test_a_level_that_is_none(level):
    """It is shown, with those that there are."""
    with pytest.raises(UsageError, match=f"level {level!r}: give one of trace, debug, info"):
        Logger("x", level=level)
    with pytest.raises(UsageError, match="level"):
        Logger("x", sinks=[]).log(level, "m")


def test_a_method_that_is_none():
    """As of any class."""
    with pytest.raises(AttributeError, match="no 'inof'"):
        Logger("x").inof("m")  # type: ignore[attr-defined]


@contextmanager
def said_on_stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    said: list[str] = []
    yield said
    said.extend(capsys.readouterr().err.splitlines())


def test_a_sink_that_fails(capsys):
    """It raises nothing into the program, is said once, and does not keep others from what they are told."""

    class Broken(Kept):
        def write(self, record) -> None:
            raise OSError("gone")

    broken, kept = Broken(), Kept()
    logger = Logger("x", sinks=[broken, kept])
    with said_on_stderr(capsys) as said:
        for _ in range(3):
            logger.info("m")
    assert kept.messages == ["m"] * 3
    assert len(said) == 1 and "Broken" in said[0] and "gone" in said[0]


def test_a_sink_that_logs():
    """What it says comes behind what it is told, and it is not asked within itself."""

    class Chatty(Kept):
        def write(self, record) -> None:
            super().write(record)
            if record.message == "m":
                logger.info("within")

    sink = Chatty()
    logger = Logger("x", sinks=[sink])
    logger.info("m")
    logger.info("n")
    assert sink.messages == ["m", "within", "n"]


def test_levels_below_cost_no_sink():
    """What is below the level does not reach its fields' __str__ nor any sink."""
    kept = Kept()
    logger = Logger("x", sinks=[kept], level=NOTE)
    logger.info("m")
    logger.log(DEBUG, "m")
    assert kept.messages == []


def test_after_the_end(tmp_path):
    """What is said through a sink that was closed goes to the store at once: finalizers speak last."""
    store = Store()
    sink = StoreSink(store, rings=tmp_path)
    logger = Logger("x", sinks=[sink])
    logger.info("before")
    sink.close()
    logger.info("after", n=1)
    assert store.messages == ["before", "after"]
    assert list(tmp_path.iterdir()) == []


def test_no_thread_can_be_started(monkeypatch, tmp_path):
    """Nothing raises, and who says something empties the ring when that is full."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    store = Store()
    sink = StoreSink(store, rings=tmp_path, ring_bytes=1 << 16, keep_from=0)
    log = Logger("app", sinks=[sink])
    for n in range(2_000):
        log.info("m", n=n)
    sink.close()
    assert [each.fields["n"] for each in store.records] == list(range(2_000))
