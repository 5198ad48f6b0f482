"""What changes a function's fingerprint, and what must not."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
import textwrap
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vcache.entry import Dep
from vcache.errors import UsageError
from vcache.fingerprint import sources
from vcache.fingerprint.code import CodePrint, code_print

PROJECT = {
    "proj/__init__.py": "",
    "proj/conf.py": '''
        """Settings."""
        LIMIT = 10
        UNUSED = 1
        PATHS = {"a": 1}
        def extra(): return 3
    ''',
    "proj/util.py": """
        from proj import conf
        class Base:
            def tail(self): return 1
        def far(x): return x + deep(x)
        def deep(x): return -x
        def other(x): return x - 1
        def lazy(x): return x + conf.PATHS["a"]
        def unrelated_far(): return 1
    """,
    "proj/main.py": '''
        """The steps."""
        from __future__ import annotations
        import functools
        import json
        from dataclasses import dataclass
        from enum import Enum
        from pathlib import Path
        import proj.util
        from proj import conf
        from proj.util import Base, far

        HERE = Path(__file__).parent
        SCALE = 2
        UNUSED = 5
        HANDLERS = {"a": lambda x: x + 1, "b": lambda x: x - 1}

        def make(n):
            def inner(x):
                return x * n
            return inner
        triple = make(3)

        def twice(fn):
            count = 2
            @functools.wraps(fn)
            def wrapper(*args):
                return fn(*args) * count
            return wrapper

        def mark(label):
            label = label + "!"
            def keep(fn):
                return fn
            return keep

        class Color(Enum):
            RED = 1
            def shade(self): return self.value

        @dataclass(frozen=True)
        class Options:
            depth: int = 1
            def flags(self): return ["-O", str(self.depth)]

        @mark("parser")
        class Parser(Base):
            width = 4
            def parse(self, x):
                """Parse."""
                return self._step(x)
            def _step(self, x): return x + 1
            @property
            def size(self): return 7
            @staticmethod
            def check(x): return x > 0
            @classmethod
            def new(cls): return cls()

        class State:
            def __init__(self): self.level = 3
        state = State()

        @twice
        @mark(
            "near"
        )
        def near(x):
            """Nearby."""
            return x + 5  # five

        @functools.lru_cache(maxsize=None)
        def kept(x): return x + 11

        bound = functools.partial(far, 1)

        def step(x, offset=1, *, options: Options = None, gap=[8]):
            """Do it."""
            # all of it
            from proj.util import lazy
            from . import util as relative
            total = near(x) + far(x) + triple(x) + Parser().parse(x) + conf.LIMIT + SCALE + offset
            total += HANDLERS["a"](x) + kept(x) + bound() + state.level + proj.util.other(x) + lazy(x)
            total += len([y + ZERO for y in (1, 2)]) + relative.far(2)
            if total in {"x", "y", "z"}:
                return Color.RED, HERE, json.dumps(options.flags())
            try:
                return total
            except ValueError:
                return None

        ZERO = 0

        def unrelated():
            return 1
    ''',
}


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files written by a test count as written before this process; what it imports is forgotten."""
    monkeypatch.setattr(sources, "_LOADED_NS", time.time_ns() + 10**15)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("proj", "solo"):
            del sys.modules[name]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text))
    return root


def load(root: Path, name: str) -> types.ModuleType:
    for known in [each for each in sys.modules if each.partition(".")[0] == name.partition(".")[0]]:
        del sys.modules[known]
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(root))


def project(root: Path, *edits: tuple[str, str, str]) -> CodePrint:
    """The print of `proj.main.step` after some edits, each of one place."""
    files = {name: textwrap.dedent(text) for name, text in PROJECT.items()}
    for name, old, new in edits:
        assert files[name].count(old) == 1, f"{old!r} is not exactly once in {name}"
        files[name] = files[name].replace(old, new)
    sys.path.insert(0, str(write(root, files)))  # the function imports while it is looked at
    return code_print(load(root, "proj.main").step)


def solo(root: Path, text: str, name: str = "f") -> Callable[..., object]:
    found: Callable[..., object] = getattr(load(write(root, {"solo.py": text}), "solo"), name)
    return found


MAIN, UTIL, CONF = "proj/main.py", "proj/util.py", "proj/conf.py"

MISSES = {
    "order of a table": (MAIN, '"a": lambda x: x + 1, "b": lambda x: x - 1', '"b": lambda x: x - 1, "a": lambda x: x + 1'),
    "function body": (MAIN, "total = near(x)", "total = 1 + near(x)"),
    "global": (MAIN, "SCALE = 2", "SCALE = 3"),
    "global's type": (MAIN, "SCALE = 2", "SCALE = 2.0"),
    "closure cell": (MAIN, "make(3)", "make(4)"),
    "closure's code": (MAIN, "return x * n", "return x / n"),
    "default": (MAIN, "offset=1", "offset=2"),
    "keyword default": (MAIN, "gap=[8]", "gap=[9]"),
    "helper in the same module": (MAIN, "return x + 5", "return x + 6"),
    "helper in another module": (UTIL, "return x + deep(x)", "return x * deep(x)"),
    "helper of a helper": (UTIL, "return -x", "return +x"),
    "class method": (MAIN, "return self._step(x)", "return self._step(x) + 1"),
    "private method": (MAIN, "def _step(self, x): return x + 1", "def _step(self, x): return x + 2"),
    "property": (MAIN, "return 7", "return 8"),
    "static method": (MAIN, "return x > 0", "return x >= 0"),
    "class attribute": (MAIN, "width = 4", "width = 5"),
    "method of a base class": (UTIL, "def tail(self): return 1", "def tail(self): return 2"),
    "bases": (MAIN, "class Parser(Base)", "class Parser"),
    "decorator": (MAIN, "return fn(*args) * count", "return fn(*args) + count"),
    "decorator's closure": (MAIN, "count = 2", "count = 3"),
    "decorator's body that leaves nothing behind": (MAIN, 'label = label + "!"', 'label = label + "?"'),
    "decorator's argument": (MAIN, '"near"', '"far"'),
    "decorator of a class": (MAIN, '"parser"', '"lexer"'),
    "decorator removed": (MAIN, "@twice\n", ""),
    "module constant by attribute": (CONF, "LIMIT = 10", "LIMIT = 11"),
    "module constant by attribute in a helper": (CONF, '{"a": 1}', '{"a": 2}'),
    "lambda in a table": (MAIN, '"b": lambda x: x - 1', '"b": lambda x: x - 2'),
    "lambdas of a table exchanged": (MAIN, '"a": lambda x: x + 1, "b": lambda x: x - 1', '"b": lambda x: x + 1, "a": lambda x: x - 1'),
    "function behind lru_cache": (MAIN, "return x + 11", "return x + 12"),
    "function in a partial": (MAIN, "partial(far, 1)", "partial(proj.util.other, 1)"),
    "argument of a partial": (MAIN, "partial(far, 1)", "partial(far, 2)"),
    "state of an object": (MAIN, "self.level = 3", "self.level = 4"),
    "function by module attribute": (UTIL, "def other(x): return x - 1", "def other(x): return x - 2"),
    "function imported in the body": (UTIL, 'return x + conf.PATHS["a"]', 'return x - conf.PATHS["a"]'),
    "global of a comprehension": (MAIN, "ZERO = 0", "ZERO = False"),
    "method of an enum": (MAIN, "return self.value", "return -self.value"),
    "member of an enum": (MAIN, "RED = 1", "RED = 2"),
    "method of an annotated class": (MAIN, '"-O"', '"-g"'),
    "field of a dataclass": (MAIN, "depth: int = 1", "depth: int = 2"),
    "option of a dataclass": (MAIN, "frozen=True", "order=True"),
    "constant in a set": (MAIN, '{"x", "y", "z"}', '{"x", "y", "w"}'),
    "exception handled": (MAIN, "except ValueError", "except TypeError"),
    "range of a try": (MAIN, "try:\n        return total", "total = +total\n    try:\n        return +total"),
    "another function under the same name": (MAIN, "import Base, far", "import Base, other as far"),
    "path in the project": (MAIN, "Path(__file__).parent", "Path(__file__).parent / 'x'"),
}  # fmt: skip

HITS = {
    "nothing": (MAIN, "SCALE = 2", "SCALE = 2"),
    "comment": (MAIN, "# all of it", "# some of it\n    # and more"),
    "comment behind code": (MAIN, "  # five", ""),
    "docstring of the function": (MAIN, '"""Do it."""', '"""Do it well."""'),
    "docstring removed": (MAIN, '    """Do it."""\n', ""),
    "docstring of a helper": (MAIN, '"""Nearby."""', '"""Elsewhere."""'),
    "docstring of a method removed": (MAIN, '        """Parse."""\n', ""),
    "docstring added": (UTIL, "    def tail(self): return 1", '    def tail(self):\n        """Tail."""\n        return 1'),
    "docstring of the module": (MAIN, '"""The steps."""', '"""The steps\n\nof it all."""'),
    "blank lines": (MAIN, "total = near(x)", "\n\n    total = near(x)"),
    "lines moved": (MAIN, "SCALE = 2", "\n" * 300 + "SCALE = 2"),
    "formatting": (MAIN, "near(x) + far(x) + triple(x)", "(near(\n        x\n    ) + far( x )\n        + triple(x))"),
    "formatting of a decorator": (MAIN, '@mark(\n    "near"\n)', "@mark('near')"),
    "number spelled otherwise": (MAIN, "return x + 11", "return x + 0xb"),
    "unrelated function": (MAIN, "def unrelated():\n    return 1", "def unrelated():\n    return 2"),
    "unrelated function added above": (MAIN, "SCALE = 2", "def news(): return SCALE\nSCALE = 2"),
    "unrelated function elsewhere": (UTIL, "def unrelated_far(): return 1", "def unrelated_far(): return 2"),
    "unused global": (MAIN, "UNUSED = 5", "UNUSED = 6"),
    "unused constant": (CONF, "UNUSED = 1", "UNUSED = 2"),
    "order of a set": (MAIN, '{"x", "y", "z"}', '{"z", "y", "x"}'),
    "order of definitions": (MAIN, "ZERO = 0\n", "ZERO = 0\ndef later(): ...\n"),
}  # fmt: skip


@pytest.mark.parametrize("edit", MISSES.values(), ids=MISSES)
def test_an_edit_that_matters_changes_the_print(tmp_path: Path, edit: tuple[str, str, str]) -> None:
    """Whatever the function reaches in the project is part of its fingerprint."""
    assert project(tmp_path / "a").deps != project(tmp_path / "b", edit).deps


@pytest.mark.parametrize("edit", HITS.values(), ids=HITS)
def test_an_edit_that_does_not_matter_changes_nothing(tmp_path: Path, edit: tuple[str, str, str]) -> None:
    """Comments, docstrings, blank lines, formatting, unrelated code and the directory leave no trace."""
    before = project(tmp_path / "a")
    after = project(tmp_path / "elsewhere" / "b", edit)
    assert before.deps == after.deps
    assert before.opaque == after.opaque


def test_records_hold_no_directory(tmp_path: Path) -> None:
    """No record shows where the checkout lies."""
    shown = repr(project(tmp_path).deps)
    assert str(tmp_path) not in shown
    assert "main.py" not in shown


SHOW = """
import sys
sys.path.insert(0, sys.argv[1])
from vcache.fingerprint.code import code_print
from proj.main import step
for dep in code_print(step).deps:
    print(dep.kind, dep.name, dep.identity.hex())
"""


def shown(root: Path, *, seed: str, flags: tuple[str, ...] = ()) -> str:
    run = subprocess.run(
        [sys.executable, *flags, "-c", SHOW, str(root)],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout


def test_fresh_processes_agree(tmp_path: Path) -> None:
    """Another hash seed and another checkout give the same records; an edit does not."""
    files = {name: textwrap.dedent(text) for name, text in PROJECT.items()}
    one = shown(write(tmp_path / "one", files), seed="1")
    assert one == shown(write(tmp_path / "far" / "two", files), seed="4711")
    assert "code proj.util:deep" in one
    files[UTIL] = files[UTIL].replace("return -x", "return ~x")
    assert one != shown(write(tmp_path / "three", files), seed="1")


def test_a_script_and_the_module_agree(tmp_path: Path) -> None:
    """A function has one print whether its file runs as a script, is imported, or is spawned again."""
    text = "LIMIT = 3\ndef f(x): return g(x) + LIMIT\ndef g(x): return x\nclass K: ...\ndef k(a: K): return K()\n"
    tail = (
        "if __name__ in ('__main__', '__mp_main__'):\n"
        "    from vcache.fingerprint.code import code_print\n"
        "    print([(d.name, d.identity.hex()) for d in code_print(f).deps + code_print(k).deps])\n"
    )
    script = write(tmp_path, {"solo.py": text + tail}) / "solo.py"
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    module = load(tmp_path, "solo")
    deps = code_print(module.f).deps + code_print(module.k).deps
    assert run.stdout.strip() == repr([(d.name, d.identity.hex()) for d in deps])


# ---- kinds of callables


def names(found: CodePrint, kind: str = "code") -> set[str]:
    return {dep.name for dep in found.deps if dep.kind == kind}


def test_mutual_recursion_ends_and_has_no_first(tmp_path: Path) -> None:
    """Two functions that call each other have the same records from either end."""
    text = "def f(n): return g(n - 1)\ndef g(n): return n and f(n)\n"
    module = load(write(tmp_path, {"solo.py": text}), "solo")
    assert code_print(module.f).deps == code_print(module.g).deps


def test_recursive_closures_end(tmp_path: Path) -> None:
    """A local function that closes over itself is fingerprinted."""
    text = "def make(k):\n    def inner(n): return n and inner(n - k)\n    return inner\nf = make({})\n"
    assert (
        code_print(solo(tmp_path / "a", text.format(1))).deps
        != code_print(solo(tmp_path / "b", text.format(2))).deps
    )


CALLABLES = {
    "lambda": "f = lambda x: x + {}",
    "partial": "import functools\ndef g(a, b): return a\nf = functools.partial(g, {})",
    "partial of a changed function": "import functools\ndef g(a): return a + {}\nf = functools.partial(g)",
    "lru_cache": "import functools\n@functools.lru_cache\ndef f(a): return a + {}",
    "callable object": "class C:\n    def __call__(self): return {}\nf = C()",
    "state of a callable object": "class C:\n    def __init__(self, n): self.n = n\n    def __call__(self): ...\nf = C({})",
    "bound method": "class C:\n    def m(self): return {}\nf = C().m",
    "state behind a bound method": "class C:\n    def __init__(self): self.n = {}\n    def m(self): return self.n\nf = C().m",
    "staticmethod": "class C:\n    @staticmethod\n    def m(): return {}\nf = C.m",
    "classmethod": "class C:\n    n = {}\n    @classmethod\n    def m(cls): return cls.n\nf = C.m",
    "class": "class f:\n    def __init__(self): self.n = {}",
    "async function": "async def f(): return {}",
    "generator": "def f():\n    yield {}",
    "context manager": "import contextlib\n@contextlib.contextmanager\ndef f():\n    yield {}",
    "single dispatch": "import functools\n@functools.singledispatch\ndef f(x): ...\n@f.register\ndef _(x: int): return {}",
    "cached property": "import functools\nclass C:\n    @functools.cached_property\n    def p(self): return {}\ndef f(): return C().p",
    "wrapper with __wrapped__": (
        "class Step:\n    def __init__(self, func): self.__wrapped__ = func\n    def __call__(self): ...\n"
        "@Step\ndef f(): return {}"
    ),
    "helper that is a wrapper": (
        "class Step:\n    def __init__(self, func): self.__wrapped__ = func\n    def __call__(self): ...\n"
        "@Step\ndef g(): return {}\ndef f(): return g()"
    ),
    "super": "class B:\n    def m(self): return {}\nclass C(B):\n    def m(self): return super().m()\nf = C().m",
    "slots": "class C:\n    __slots__ = ('n',)\n    def __init__(self): self.n = {}\nc = C()\ndef f(): return c",
    "metaclass": "class M(type):\n    def m(cls): return {}\nclass C(metaclass=M): ...\ndef f(): return C.m()",
    "named tuple": "import typing\nclass C(typing.NamedTuple):\n    n: int = {}\ndef f(): return C()",
    "default factory": "import dataclasses\n@dataclasses.dataclass\nclass C:\n    n: int = dataclasses.field(default_factory=lambda: {})\ndef f(): return C()",
    "nested function": "def f():\n    def g(): return {}\n    return g",
    "class in a function": "def f():\n    class C:\n        n = {}\n    return C",
    "global of a nested class": "N = {}\ndef f():\n    class C:\n        n = N\n    return C",
    "decorated twice": "def d(n):\n    def inner(fn): return lambda: fn() + n\n    return inner\n@d({})\n@d(9)\ndef f(): return 1",
    "function attribute": "def g(): ...\ng.n = {}\ndef f(): return g.n",
    "class decorator's arguments": "def d(n):\n    return lambda cls: cls\n@d({})\nclass C: ...\ndef f(): return C()",
    "string annotation": "class C:\n    def m(self): return {}\ndef f(x: 'list[C]'): return x[0].m()",
    "operator chain": "def f(a): return a < {} < 5",
    "match": "def f(a):\n    match a:\n        case [{}, *rest]: return rest",
    "huge number": "def f(): return 0x1{}" + "f" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("text", CALLABLES.values(), ids=CALLABLES)
def test_every_kind_of_callable_is_seen_into(tmp_path: Path, text: str) -> None:
    """Whatever holds the code, an edit of it changes the print, and no edit does not."""
    one, again, other = (
        code_print(solo(tmp_path / name, text.replace("{}", value)))
        for name, value in [("a", "1"), ("b", "1"), ("c", "2")]
    )
    assert one.deps == again.deps
    assert one.deps != other.deps
    assert one.opaque == ()


def test_a_function_without_source_is_fingerprinted() -> None:
    """Code typed at a prompt counts like code in a file."""

    def typed(text: str) -> tuple[Dep, ...]:
        namespace: dict[str, object] = {"__name__": "__main__"}
        exec(text, namespace)
        func = namespace["f"]
        assert callable(func)
        return code_print(func).deps

    assert typed("def f(): return g()\ndef g(): return 1") == typed(
        "def f():\n  'doc'\n  return g()\ndef g(): return 1"
    )
    assert typed("def f(): return g()\ndef g(): return 1") != typed("def f(): return g()\ndef g(): return 2")


def test_a_module_used_as_a_value_counts_whole(tmp_path: Path) -> None:
    """Of a module that is passed on, everything counts: any of it may be read."""
    files = {
        "solo.py": "import proj\ndef f(): return use(proj)\ndef use(m): return m.A\n",
        "proj.py": "A = {}\n",
    }
    prints = []
    for value in ("1", "2"):
        files_now = {name: text.replace("{}", value) for name, text in files.items()}
        sys.modules.pop("proj", None)
        prints.append(code_print(load(write(tmp_path / value, files_now), "solo").f).deps)
    assert prints[0] != prints[1]


def test_source_edited_after_loading_does_not_count(tmp_path: Path) -> None:
    """The code that runs is what counts, not what is on disk by then."""
    text = "def f(): return 1\n"
    func = solo(tmp_path, text)
    before = code_print(func).deps
    (tmp_path / "solo.py").write_text("def f(): return 2\n")
    assert code_print(func).deps == before


def test_decorators_edited_while_running_are_never_taken_for_fresh_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file changed since the start may not show the decorators that ran: its print is its own."""
    text = "def mark(n): return lambda fn: fn\n@mark({})\ndef f(): return 1\n"
    func = solo(tmp_path / "a", text.format(1))
    (tmp_path / "a" / "solo.py").write_text(text.format(2))
    monkeypatch.setattr(sources, "_LOADED_NS", 0)
    running = code_print(func).deps
    monkeypatch.setattr(sources, "_LOADED_NS", time.time_ns() + 10**15)
    assert running != code_print(solo(tmp_path / "b", text.format(2))).deps


def test_an_edit_before_the_first_print_is_noticed(tmp_path: Path) -> None:
    """A file is watched from the time that vcache is imported, not from the first print on."""
    text = "def mark(n): return lambda fn: fn\n@mark(1)\ndef f(): return 1\n"
    write(tmp_path, {"solo.py": text})
    script = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import solo\n"
        "from vcache.fingerprint.code import code_print\n"
        "path = pathlib.Path(solo.__file__)\n"
        "if sys.argv[2] == 'edit': path.write_text(path.read_text().replace('@mark(1)', '@mark(2)'))\n"
        "print([(d.name, d.identity.hex()) for d in code_print(solo.f).deps])\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), how], capture_output=True, text=True, check=True
        )
        for how in ("edit", "keep")
    ]
    assert runs[0].stdout != runs[1].stdout


# ---- whose code


def test_a_distribution_counts_by_name_and_version(tmp_path: Path) -> None:
    """Third-party code is not followed; its distribution's version is part of the print."""
    from importlib.metadata import version

    text = "import pytest, msgpack\ndef f(): return pytest.approx(1), msgpack.packb\n"
    found = {
        dep.name: dep.identity for dep in code_print(solo(tmp_path, text)).deps if dep.kind == "distribution"
    }
    assert found == {name: version(name).encode() for name in ("pytest", "msgpack")}


def test_a_distribution_imported_in_the_body_is_not_loaded(tmp_path: Path) -> None:
    """Looking at a function does not import the libraries that it would import."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import solo\n"
        "from vcache.fingerprint.code import code_print\n"
        "p = code_print(solo.f); print('msgpack' in sys.modules, [d.name for d in p.deps if d.kind == 'distribution'])"
    )
    write(
        tmp_path, {"solo.py": "def f():\n    import msgpack, nowhere_at_all\n    return msgpack.packb(1)\n"}
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False ['msgpack', 'nowhere_at_all']"


def installed(root: Path, text: str) -> Path:
    """A package as pip leaves it in a directory, with its metadata beside it."""
    return write(
        root,
        {
            "proj/__init__.py": text,
            "proj-1.5.dist-info/METADATA": "Name: proj\nVersion: 1.5\n",
            "proj-1.5.dist-info/RECORD": "proj/__init__.py,,\n",
        },
    )


@pytest.mark.parametrize("place", ["site-packages", "vendor"])
def test_an_installed_package_is_a_distribution_to_others(tmp_path: Path, place: str) -> None:
    """What a project calls in an installed package counts by version, wherever it was installed to."""
    site = installed(tmp_path / place, "def g(): return 1\n")
    sys.modules.pop("proj", None)
    sys.path.insert(0, str(site))
    found = code_print(solo(tmp_path, "from proj import g\ndef f(): return g()\n"))
    assert [(dep.kind, dep.name, dep.identity) for dep in found.deps][1] == ("distribution", "proj", b"1.5")
    assert names(found) == {"solo:f"}


def test_an_installed_package_is_the_users_to_its_own_steps(tmp_path: Path) -> None:
    """A step inside an installed package sees that package's code: it may be reinstalled unversioned."""
    text = "def f(): return g()\ndef g(): return {}\n"
    roots = [installed(tmp_path / value / "site-packages", text.format(value)) for value in ("1", "2")]
    prints = [code_print(load(root, "proj").f) for root in roots]
    assert names(prints[0]) == {"proj:f", "proj:g"}
    assert prints[0].deps != prints[1].deps


def test_the_standard_library_counts_by_python_version(tmp_path: Path) -> None:
    """Of json and textwrap only the Python version is recorded."""
    found = code_print(
        solo(tmp_path, "import json, textwrap\ndef f(): return json.loads(textwrap.dedent('1'))\n")
    )
    assert [(dep.kind, dep.name) for dep in found.deps] == [("code", "solo:f"), ("python", "python")]


def test_project_root_makes_paths_relative(tmp_path: Path) -> None:
    """A path below the named root counts by how it goes on from there."""
    text = "from pathlib import Path\nTOP = str(Path(__file__).parent.parent)\ndef f(): return TOP\n"
    roots = [tmp_path / "one", tmp_path / "two"]
    prints = [code_print(solo(root / "src", text), project_root=root).deps for root in roots]
    assert prints[0] == prints[1]
    assert prints[0] != code_print(solo(tmp_path / "one" / "src", text)).deps


# ---- what cannot be seen


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(o, n): return getattr(o, n)", "solo:f: getattr() reads an attribute by a computed name"),
        ("def f(t): return eval(t)", "solo:f: eval() runs text as code"),
        ("def f(t): exec(t)", "solo:f: exec() runs text as code"),
        ("import importlib\ndef f(n): return importlib.import_module(n)", "solo:f: importlib imports by a computed name"),
        ("import threading\nL = threading.Lock()\ndef f(): return L", "global solo:L: a _thread:lock has no fingerprint"),
    ],
)  # fmt: skip
def test_what_cannot_be_seen_is_listed(tmp_path: Path, text: str, told: str) -> None:
    """A print names what it is blind to, and why."""
    assert code_print(solo(tmp_path, text)).opaque == (told,)


def test_an_unfit_part_does_not_hide_the_rest(tmp_path: Path) -> None:
    """Beside something without a fingerprint, the other parts of a value still count."""
    text = "import threading\nT = {'lock': threading.Lock(), 'n': {}}\ndef f(): return T\n"
    prints = [code_print(solo(tmp_path / v, text.replace("{}", v))) for v in ("1", "2")]
    assert prints[0].deps != prints[1].deps
    assert prints[0].opaque


DENSE = """
class Node:
    def __init__(self, n): self.n, self.links = n, []
nodes = [Node(n + {}) for n in range(30)]
for node in nodes:
    node.links = [other for other in nodes if {}]
def f(): return nodes
"""


def test_a_graph_without_cycles_takes_linear_time(tmp_path: Path) -> None:
    """Objects shared by many others are looked at once, and the last of them counts."""
    shared = "other.n > node.n"
    prints = [code_print(solo(tmp_path / v, DENSE.format(v, shared))) for v in ("1", "1", "2")]
    assert prints[0].deps == prints[1].deps != prints[2].deps
    assert prints[0].opaque == ()


def test_a_graph_full_of_cycles_is_given_up(tmp_path: Path) -> None:
    """Objects that all refer to each other are listed as unseen instead of taking for ever."""
    found = code_print(solo(tmp_path, DENSE.format(1, "True")))
    assert found.opaque == ("global solo:nodes: a builtins:list has no fingerprint",)
    assert found.is_current()


def test_a_chain_too_long_to_encode_is_listed(tmp_path: Path) -> None:
    """A value nested deeper than the stack allows is listed, not an error."""
    text = "deep = []\nfor _ in range(5000): deep = [deep]\ndef f(): return deep\n"
    assert code_print(solo(tmp_path, text)).opaque == (
        "global solo:deep: a builtins:list has no fingerprint",
    )


def test_parents_and_children_that_know_each_other_are_seen(tmp_path: Path) -> None:
    """A small graph with cycles counts by its content."""
    text = (
        "class Node:\n    def __init__(self, up): self.up, self.down, self.n = up, [], {}\n"
        "top = Node(None)\ntop.down = [Node(top), Node(top)]\ndef f(): return top\n"
    )
    prints = [code_print(solo(tmp_path / v, text.replace("{}", v))) for v in ("1", "1", "2")]
    assert prints[0].deps == prints[1].deps != prints[2].deps
    assert prints[0].opaque == ()


def test_a_sentinel_is_itself(tmp_path: Path) -> None:
    """A bare object() needs no fingerprint: code can only ask whether it is the one."""
    text = "MISSING = object()\ndef f(x=MISSING): return x is MISSING\n"
    assert code_print(solo(tmp_path, text)).opaque == ()


# ---- levels


def test_shallow_is_the_function_alone(tmp_path: Path) -> None:
    """A shallow print has the function's code and defaults, and nothing that it calls."""
    func = solo(tmp_path, "def f(a=1): return g(a)\ndef g(x): return x\n")
    found = code_print(func, level="shallow")
    assert [(dep.kind, dep.name) for dep in found.deps] == [
        ("code", "solo:f"), ("default", "solo:f(a)"), ("python", "python")
    ]  # fmt: skip
    assert found.is_current()


def test_none_is_nothing() -> None:
    """Level "none" records nothing and is always current."""
    found = code_print(len, level="none")
    assert (found.deps, found.opaque, found.is_current()) == ((), (), True)


def test_misuse_says_what_was_given() -> None:
    """An unknown level or a thing that cannot be called gives an error that shows it."""
    with pytest.raises(UsageError, match="'medium'"):
        code_print(len, level="medium")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="42 is not callable"):
        code_print(42)  # type: ignore[arg-type]


# ---- the guard

LIVE = """
import proj
N = 1
ITEMS = [1]
def helper(x=1): return x
def keyword(*, x=1): return x
def make(n):
    def inner(): return n
    return inner
closed = make(1)
class K:
    n = 1
    def m(self): return 1
class S: ...
obj = S()
def f(): return N, ITEMS, helper(), keyword(), K().m(), closed(), proj.C, obj, later
"""


def _bump_closure(m: types.ModuleType) -> None:
    m.closed.__closure__[0].cell_contents = 2


CHANGES: dict[str, Callable[[types.ModuleType], object]] = {
    "global bound anew": lambda m: setattr(m, "N", 2),
    "equal number of another type": lambda m: setattr(m, "N", True),
    "list changed in place": lambda m: m.ITEMS.append(2),
    "helper replaced": lambda m: setattr(m, "helper", lambda: 1),
    "helper's code replaced": lambda m: setattr(m.helper, "__code__", (lambda x=1: x + 1).__code__),
    "helper's default replaced": lambda m: setattr(m.helper, "__defaults__", (2,)),
    "helper's default of another type": lambda m: setattr(m.helper, "__defaults__", (True,)),
    "keyword default changed in place": lambda m: m.keyword.__kwdefaults__.update(x=2),
    "keyword defaults replaced": lambda m: setattr(m.keyword, "__kwdefaults__", {"x": True}),
    "closure cell": _bump_closure,
    "method replaced": lambda m: setattr(m.K, "m", lambda self: 2),
    "class attribute": lambda m: setattr(m.K, "n", 2),
    "method added": lambda m: setattr(m.K, "new", lambda self: 2),
    "own code": lambda m: setattr(m.f, "__code__", (lambda: 1).__code__),
    "constant of a module": lambda m: setattr(m.proj, "C", 2),
    "state of an object": lambda m: setattr(m.obj, "x", 1),
    "absent name defined": lambda m: setattr(m, "later", 1),
    "builtin hidden": lambda m: setattr(m, "range", 1),
    "global removed": lambda m: delattr(m, "N"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_guard_notices_a_change_in_this_process(
    tmp_path: Path, change: Callable[[types.ModuleType], object]
) -> None:
    """A print is current until something it covers is rebound or changed, and a new one then differs."""
    text = LIVE.replace("return N,", "return range, N,")
    sys.modules.pop("proj", None)
    module = load(write(tmp_path, {"solo.py": text, "proj.py": "C = 1\n"}), "solo")
    before = code_print(module.f)
    assert before.is_current()
    assert code_print(module.f).deps == before.deps
    change(module)
    assert not before.is_current()
    assert code_print(module.f).deps != before.deps


def test_the_guard_does_little() -> None:
    """Asking whether a function with five globals is current calls nothing: it compares what it has."""
    namespace: dict[str, object] = {"__name__": "solo"}
    exec(
        "import json\nA = 1\nB = 'b'\ndef g(x): return x\ndef h(): return A\n"
        "def f(x): return A, B, g(x), h(), json\n", namespace
    )  # fmt: skip
    func = namespace["f"]
    assert callable(func)
    guard = code_print(func).is_current
    calls: list[str] = []

    def note(_frame: object, event: str, _arg: object) -> None:
        calls.append(event)

    sys.setprofile(note)
    try:
        is_current = guard()
    finally:
        sys.setprofile(None)
    assert is_current
    # The guard itself, and what ends the profile.
    assert (calls.count("call"), calls.count("c_call")) == (1, 1)


def test_a_table_that_other_threads_fill_can_be_looked_at(tmp_path: Path) -> None:
    """A global dict growing meanwhile makes a print stale, and never an error."""
    func = solo(tmp_path, "memo = {n: n for n in range(50)}\ndef f(): return memo\n")
    memo, found = sys.modules["solo"].memo, code_print(func)
    begun, stop = threading.Event(), threading.Event()

    def fill() -> None:
        count = 100
        while not stop.is_set():
            count += 1
            memo[count] = count
            memo.pop(count - 20, None)
            begun.set()

    thread = threading.Thread(target=fill)
    thread.start()
    begun.wait()
    try:
        for _ in range(500):
            found.is_current()
    finally:
        stop.set()
        thread.join()
    assert not found.is_current()


def test_prints_may_be_taken_from_many_threads(tmp_path: Path) -> None:
    """Threads that look at one function at once get equal records."""
    project(tmp_path)
    func = sys.modules["proj.main"].step
    found: list[tuple[Dep, ...]] = []
    threads = [threading.Thread(target=lambda: found.append(code_print(func).deps)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(each == found[0] for each in found)


def test_a_wrapped_function_keeps_its_own_name() -> None:
    """What functools.wraps renames is recorded under the name of the code that runs."""

    def deco(fn: Callable[[], int]) -> Callable[[], int]:
        @functools.wraps(fn)
        def wrapper() -> int:
            return fn() + 1

        return wrapper

    def inner() -> int:
        return 1

    found = names(code_print(deco(inner)))
    assert any(name.endswith("deco.<locals>.wrapper") for name in found)
    assert any(name.endswith("<locals>.inner") for name in found)
