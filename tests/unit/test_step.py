"""Steps in one process: which calls are one call, what is remembered, and for how long."""

from __future__ import annotations

import copy
import enum
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from vcache import Cache, Env, File, UsageError, Value
from vcache.errors import EncodeError, FingerprintError
from vcache.step import Step
from vcache.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def cache(tmp_path, monkeypatch, clock):
    monkeypatch.chdir(tmp_path)
    with Cache("c", clock=clock) as cache:
        yield cache


class Ran(list[object]):
    """The calls that ran, seen from within steps: no part of their code's fingerprint."""

    def __vcache_key__(self):
        return "calls"


ran = Ran()


@pytest.fixture(autouse=True)
def _nothing_ran():
    ran.clear()


class Colour(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int


@dataclass(frozen=True)
class Job:
    source: File
    level: int = 1


# -- which calls are one call ------------------------------------------------------------------


def test_a_call_runs_once(cache):
    """The first call runs, equal ones after it do not, in this process and with a new cache."""

    @cache.step
    def double(x):
        ran.append(x)
        return [x, x]

    assert double(2) == double(2) == double(2) == [2, 2]
    assert double(3) == [3, 3]
    assert ran == [2, 3]
    with Cache("c") as other:
        assert other.step(double.function)(2) == [2, 2]
    assert ran == [2, 3]


def test_spelling_does_not_count(cache):
    """Positional, keyword and default spellings of one call share a key."""

    @cache.step
    def area(width, height=2, *more, unit="m", **words):
        ran.append(1)
        return width * height

    keys = {
        area.key(1),
        area.key(1, 2),
        area.key(width=1),
        area.key(height=2, width=1),
        area.key(1, unit="m"),
    }
    assert len(keys) == 1
    assert area(1) == area(1, 2) == area(width=1, height=2) == area(1, unit="m") == 2
    assert len(ran) == 1
    # `words` is a dict whose order the function can see.
    assert area.key(1, a=1, b=2) != area.key(1, b=2, a=1)
    assert len({area.key(1), area.key(1, 2, 3), area.key(1, 2, 4), area.key(1, a=1), area.key(1, a=2)}) == 5


def alike() -> list[object]:
    """Values that are equal, or look or pack alike, and are not the same."""
    return [
        1, 1.0, True, "1", b"1", Colour.RED, Point(1), (1,), [1], {1}, frozenset({1}), {1: 1}, None, "", b"",
        0, 0.0, -0.0, False, "b'1'", bytearray(b"1"), memoryview(b"1"), np.frombuffer(b"1", "u1"),
        np.array([1]), np.array([1.0]), np.array(1), np.int64(1), float("nan"), float("inf"),
        Path("1"), complex(1), [[1]], ([1],), [(1,)], {"a": b"1"}, {"a": bytearray(b"1")}, Value("1", 1),
    ]  # fmt: skip


def test_type_and_value_count(cache):
    """Values that differ in type alone are different calls, also in the table of this process."""

    @cache.step(code="none")
    def name(x):
        return f"{type(x).__name__} {x!r}"

    for _ in range(3):
        for value in alike():
            if isinstance(value, Value | memoryview):
                name(value)
            else:
                assert name(value) == f"{type(value).__name__} {value!r}"
    assert len({name.key(value) for value in alike()}) == len(alike())


@pytest.mark.parametrize("first", [b"\0\0\0\0\0\0\xf0?", bytearray(b"\0\0\0\0\0\0\xf0?")])
def test_a_buffer_is_not_the_bytes_in_it(cache, first):
    """Arrays of one content and several types are told apart, whichever came first."""

    @cache.step
    def kind(x):
        return str(getattr(x, "dtype", type(x).__name__))

    for _ in range(2):
        assert kind(first) == type(first).__name__
        assert kind(np.array([1.0])) == "float64"
        assert kind(np.array([1.0]).view("i8")) == "int64"
        assert kind(bytes(first)) == "bytes"
        assert kind([bytes(first)]) == "list"
        assert kind({"a": np.array([1.0])}) == "dict"


def test_files_that_change_places_are_another_call(cache):
    """Two specs in two parameters, or in two places of one, count in their order."""
    Path("a").write_text("A")
    Path("b").write_text("B")

    @cache.step
    def join(*files, **named):
        return "".join(Path(file).read_text() for file in (*files, *named.values()))

    a, b = File("a"), File("b")
    assert join(a, b) == "AB"
    assert join(b, a) == "BA"
    assert join(x=a, y=b) == "AB"
    assert join(x=b, y=a) == "BA"

    @cache.step
    def pair(x, y):
        return x.value, y.value

    assert pair(Value("v", 1), Value("v", 2)) == (1, 2)
    assert pair(Value("v", 2), Value("v", 1)) == (2, 1)


@pytest.mark.parametrize(
    "wrap",
    [lambda f: f, lambda f: [f], lambda f: (f,), lambda f: {"k": f}, lambda f: {"k": [f]}, Job],
    ids=["bare", "list", "tuple", "dict", "deep", "dataclass"],
)
def test_a_file_counts_by_content_wherever_it_stands(cache, wrap):
    """A `File` in a list, dict or dataclass invalidates as one that stands alone."""

    def found(value):
        if isinstance(value, File):
            return value.read_text()
        if isinstance(value, Job):
            return found(value.source)
        return "".join(map(found, value.values() if isinstance(value, dict) else value))

    @cache.step(code="none")
    def read(value):
        ran.append(1)
        return found(value)

    Path("a").write_text("one")
    assert read(wrap(File("a"))) == read(wrap(File("a"))) == "one"
    Path("a").write_text("other")
    assert read(wrap(File("a"))) == "other"
    Path("a").write_text("one")
    assert read(wrap(File("a"))) == "one"
    assert len(ran) == 2


def test_a_missing_file_is_said(cache):
    """An input that is not there raises with its name, and nothing runs."""

    @cache.step
    def read(src):
        ran.append(1)

    with pytest.raises(FingerprintError, match=r"File\(path='absent'"):
        read(File("absent"))
    assert ran == []


def test_an_argument_without_identity_is_named(cache):
    """The error names step, parameter, place, class and remedy; with `ignore` it passes."""

    class Handle:
        pass

    def use(n, options):
        return n

    with pytest.raises(FingerprintError, match=r"use: argument 'options'\['out'\]\[0\].*Handle.*ignore="):
        cache.step(use)(1, {"out": [Handle()]})
    assert cache.step(ignore="options")(use)(1, {"out": [Handle()]}) == 1


def test_wrong_arguments_are_pythons_own_error(cache):
    """A call that the function would refuse is refused in the same words."""

    @cache.step
    def one(x):
        return x

    with pytest.raises(TypeError, match=r"one\(\) missing 1 required positional argument: 'x'"):
        one()
    with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
        one(1, y=2)


def test_ignored_parameters_do_not_count(cache):
    """Calls that differ in an ignored parameter are one; it must be one of the function's."""

    @cache.step(ignore=("verbose",))
    def work(x, *, verbose=False):
        ran.append(verbose)
        return x

    assert work(1) == work(1, verbose=True) == 1
    assert ran == [False]
    assert work.key(1) == work.key(1, verbose=True)
    with pytest.raises(UsageError, match="no parameter 'y'"):
        cache.step(ignore=["y"])(work.function)(1)


def test_version_and_inputs_are_part_of_the_key(cache, monkeypatch):
    """Another version, variable or declared file is another call."""

    def work(x):
        ran.append(x)
        return x

    Path("in").write_text("1")
    assert len({cache.step(version=v)(work).key(1) for v in ("", 1, "1", 2)}) == 4
    step = cache.step(inputs=["in", Env("MODE")])(work)
    step(1), step(1)
    monkeypatch.setenv("MODE", "fast")
    step(1), step(1)
    Path("in").write_text("22")
    step(1), step(1)
    assert len(ran) == 3
    cache.step(inputs=File("in"))(work)(1)  # one alone is a list of one


def test_long_arguments_fill_no_table(cache):
    """Calls with long arguments are remembered by the cache and not by the process."""
    size = cache.step(len)
    for n in range(20):
        assert size("x" * 100_000 + str(n)) == size("x" * 100_000 + str(n))
    known = size._known
    assert known is not None
    assert sum(map(len, known._keys)) < 100_000


# -- results -----------------------------------------------------------------------------------


def test_results_are_nobodys_to_change(cache):
    """What one caller does to a result, no other caller sees."""

    @cache.step
    def make():
        return {"list": [1]}

    first = make()
    first["list"].append(2)
    second = make()
    assert second == {"list": [1]}
    second["list"].append(3)
    second["more"] = 1
    assert make() == {"list": [1]}


def test_none_is_remembered(cache):
    """A step that returns None runs once."""

    @cache.step
    def nothing():
        ran.append(1)

    assert nothing() is nothing() is None
    assert len(ran) == 1


def test_a_result_without_codec_is_given_and_not_kept(cache, caplog):
    """The work is not lost: the caller has the result, and the log says what to do."""

    @cache.step
    def make():
        ran.append(1)
        return {"a": [object()]}

    assert type(make()["a"][0]) is object
    make()
    assert len(ran) == 2
    assert "value['a'][0]" in caplog.text and "make" in caplog.text
    assert type(cache.get_or_compute("k", object)) is object
    with pytest.raises(EncodeError):
        cache.put("k", object())


def test_exceptions_are_not_remembered_unless_asked(cache, clock):
    """Without `errors` each call runs; with it the exception is raised again until its time is over."""

    def fail(x):
        ran.append(x)
        raise ValueError("no", x)

    for step, runs in ((cache.step(fail), 3), (cache.step(errors="10m", version=1)(fail), 1)):
        ran.clear()
        for _ in range(3):
            with pytest.raises(ValueError, match="no") as caught:
                step(7)
            assert caught.value.args == ("no", 7)
        assert len(ran) == runs
    clock.advance("10m")
    with pytest.raises(ValueError, match="no"):
        step(7)
    assert len(ran) == 2


def test_a_remembered_exception_goes_with_its_tags(cache):
    """`invalidate` of a tag forgets exceptions too."""

    @cache.step(errors="1h", tags="t")
    def fail():
        ran.append(1)
        raise KeyError("x")

    for _ in range(2):
        with pytest.raises(KeyError):
            fail()
    assert cache.invalidate(tags=["t"]) == 1
    with pytest.raises(KeyError):
        fail()
    assert len(ran) == 2


def test_an_interruption_is_never_remembered(cache):
    """KeyboardInterrupt passes, lets the next caller lead, and leaves nothing."""

    @cache.step(errors="1h")
    def stop():
        ran.append(1)
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            stop()
    assert len(ran) == 2
    assert len(cache) == 0


def test_a_result_expires(cache, clock):
    """`ttl` ends a result; `lookup` of its key says so."""

    @cache.step(ttl="1h", tags=["t"])
    def work():
        ran.append(1)
        return 1

    work()
    clock.advance("59m")
    work()
    assert len(ran) == 1 and work.is_cached()
    clock.advance("1m")
    assert not work.is_cached()
    work()
    assert len(ran) == 2
    assert cache.invalidate(tags=["t"]) == 1


# -- the rest of a step's face -----------------------------------------------------------------


def test_asking_changes_nothing(cache):
    """`key`, `is_cached`, `explain` and `bypass` neither keep, nor count, nor run (but for `bypass`)."""

    @cache.step
    def work(x, y=2):
        """What it does."""
        ran.append(x)
        return x + y

    assert not work.is_cached(1)
    key = work.key(1)
    assert work.bypass(1) == 3
    assert not work.is_cached(1)
    assert len(cache) == 0
    work(1)
    assert list(cache) == [key]
    assert work.is_cached(1) and not work.is_cached(2)
    assert work.key(1) == key
    explanation = work.explain(1)
    assert explanation.key == key
    lines = str(explanation)
    for word in ("arg      x", "arg      y", "work"):
        assert word in lines
    stats = cache.stats()
    assert (stats.hits, stats.misses) == (0, 1)
    assert (work.__name__, work.__doc__) == ("work", "What it does.")
    assert repr(work) == f"<step {work.name}>"


def test_invalidate_forgets_all_calls_of_a_step_and_no_others(cache):
    """All arguments and all states of the code are forgotten; how many is told."""

    @cache.step
    def work(x):
        ran.append(x)
        return x

    @cache.step
    def workshop(x):
        return x

    work(1), work(2), workshop(1)
    cache.step(version=2)(work.function)(1)
    assert work.invalidate() == 3
    assert not work.is_cached(1)
    assert workshop.is_cached(1)
    work(1)
    assert ran == [1, 2, 1, 1]


def test_one_call_is_one_look_up(cache):
    """Hits and misses of steps count once each, however a step finds its result."""
    Path("in").write_text("x")

    def plain(x):
        return [x]

    def declared(x):
        return [x]

    def traced(x):
        return Path("in").read_text()

    steps = [cache.step(plain), cache.step(inputs=["in"])(declared), cache.step(inputs="traced")(traced)]
    for step in steps:
        before = cache.stats()
        step(1), step(1), step(1)
        after = cache.stats()
        assert (after.hits - before.hits, after.misses - before.misses, after.puts - before.puts) == (2, 1, 1)
        step.invalidate()
        step(1)
        again = cache.stats()
        assert (again.hits - after.hits, again.misses - after.misses) == (0, 1)


class Parser:
    def __init__(self, level):
        self.level = level

    def __vcache_key__(self):
        return self.level


def test_a_method_is_a_step_of_its_object(cache):
    """The object is the first argument, in every verb; its class gives the step itself."""

    class Tool(Parser):
        @cache.step
        def parse(self, text):
            ran.append(text)
            return [self.level, text]

        @cache.step(ignore=["self"])
        def shared(self, text):
            ran.append(text)
            return text

        @staticmethod
        @cache.step
        def static(x):
            return [x]

    one, two = Tool(1), Tool(2)
    assert one.parse("a") == one.parse("a") == Tool(1).parse("a") == [1, "a"]
    assert two.parse("a") == [2, "a"]
    assert len(ran) == 2
    assert one.parse.is_cached("a") and not one.parse.is_cached("b")
    assert one.parse.key("a") == Tool.parse.key(one, "a") != two.parse.key("a")
    assert one.parse.explain("a").key == one.parse.key("a")
    assert one.parse.bypass("a") == [1, "a"]
    assert one.parse.__name__ == "parse"
    assert isinstance(Tool.parse, Step)
    assert one.shared("a") == two.shared("a")
    assert Tool.static(1) == one.static(1) == [1]
    assert one.parse.invalidate() == 2


def test_recursion_and_steps_in_steps_end(cache):
    """A step may call itself and others; each call runs once."""

    @cache.step
    def fib(n):
        ran.append(n)
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert fib(40) == 102334155
    assert len(ran) == 41

    @cache.step
    def outer(n):
        return [fib(n), fib(n)]

    assert outer(40) == [102334155] * 2
    assert len(ran) == 41


def test_recursion_in_many_threads_ends(cache):
    """Threads that wait for each other's steps do not wait in a circle."""

    @cache.step
    def fib(n):
        ran.append(n)
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(fib, [25] * 8)) == {75025}
    assert len(ran) == 26


def test_of_many_threads_one_runs(cache):
    """Threads that ask for one cold call at once share one run, and its exception is each one's own."""
    began, go = threading.Event(), threading.Event()

    @cache.step
    def slow(x):
        ran.append(x)
        began.set()
        assert go.wait(10)
        return [x]

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(slow, 1) for _ in range(8)]
        assert began.wait(10)
        go.set()
        results = [call.result(10) for call in calls]
    assert ran == [1]
    assert results == [[1]] * 8
    assert len({id(result) for result in results}) == 8


def test_a_step_is_pickled_by_name(cache, monkeypatch):
    """A worker process that imports the module has the same step."""
    step = cache.step(module_level)
    monkeypatch.setitem(globals(), "module_level", step)
    assert pickle.loads(pickle.dumps(step)) is step
    assert copy.deepcopy(step) is step


def module_level(x):
    return x


def test_other_callables_are_steps(cache):
    """Partials, builtins, classes and callable objects can be remembered."""
    from functools import partial

    assert cache.step(partial(module_level, x=5))() == 5
    assert cache.step(sorted)([2, 1], reverse=True) == [2, 1]
    assert cache.step(len)("abc") == 3

    class Adder:
        def __call__(self, x, y):
            ran.append(1)
            return x + y

    add = cache.step(Adder())
    assert add(1, 2) == add(1, y=2) == 3
    assert len(ran) == 1
    with pytest.raises(UsageError, match="no signature"):
        cache.step(int)("1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tll": 1}, "no option 'tll': did you mean 'ttl'"),
        ({"ttl": "soon"}, "duration"),
        ({"code": "none "}, 'give "deep"'),
        ({"inputs": "trace"}, "traced"),
        ({"outs": "a.o"}, r"\['a.o'\]"),
        ({"stale": "1h", "ttl": 1, "outs": ["a"]}, "stale"),
    ],
)
def test_options_that_mean_nothing_are_refused(cache, options, message):
    """A wrong option raises where the step is made, with the remedy."""
    with pytest.raises(UsageError, match=message):
        cache.step(**options)(module_level)


def generator():
    yield 1


async def coroutine():
    return 1


@pytest.mark.parametrize(
    ("function", "message"), [(generator, "return a list"), (coroutine, "AsyncCache"), (1, "wraps")]
)
def test_what_cannot_be_remembered_is_refused(cache, function, message):
    """Generators, coroutines and what is no function raise where the step is made."""
    with pytest.raises(UsageError, match=message):
        cache.step(function)
