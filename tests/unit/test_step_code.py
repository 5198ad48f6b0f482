"""Which edits of a program make its steps run again: real files, a fresh process for each run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vcache import Cache

FILES = {
    "main.py": '''
        """A program."""
        import sys
        from vcache import Cache
        import steps

        cache = Cache("cache", root=".")
        steps.work = cache.step(steps.work)
        steps.inner = cache.step(steps.inner)
        steps.outer = cache.step(steps.outer)
        print(steps.work(10), steps.outer(1))
        cache.close()
    ''',
    "steps.py": '''
        """Steps and what they reach."""
        import settings
        import helpers
        from helpers import Shape

        FACTOR = 3
        UNUSED = 1

        def near(x):
            """A helper in the same module."""
            return x + 1

        def twice(function):
            def wrapper(x):
                return function(x) * 2
            return wrapper

        @twice
        def decorated(x):
            return x

        def make(offset):
            def add(x):
                return x + offset
            return add

        add = make(5)

        def work(x, y=7):
            """What it does."""
            print("ran work")
            # It adds up.
            total = near(x) + helpers.far(x) + FACTOR + y
            return total + add(x) + decorated(x) + Shape(x).area() + settings.deep.LIMIT

        def unrelated(x):
            return x - 1

        def inner(x):
            print("ran inner")
            return x + 1

        def outer(x):
            print("ran outer")
            return inner(x) * 2
    ''',
    "helpers.py": '''
        """Helpers in another module."""
        def deepest(x):
            return x * 2

        def far(x):
            return deepest(x) + 1

        class Shape:
            """A shape."""
            def __init__(self, x):
                self.x = x

            def area(self):
                return self.x * self.x

            def unused(self):
                return 0
    ''',
    "settings/__init__.py": "import settings.deep\n",
    "settings/deep.py": "LIMIT = 100\nOTHER = 1\n",
}

EDITS = {
    "function body": ("steps.py", "total = near(x)", "total = 1 + near(x)"),
    "global": ("steps.py", "FACTOR = 3", "FACTOR = 4"),
    "closure cell": ("steps.py", "make(5)", "make(6)"),
    "default argument": ("steps.py", "y=7", "y=8"),
    "helper in the same module": ("steps.py", "return x + 1\n\ndef twice", "return x + 2\n\ndef twice"),
    "helper in another module": ("helpers.py", "return x * 2", "return x * 3"),
    "class method": ("helpers.py", "return self.x * self.x", "return self.x * self.x + 1"),
    "decorator": ("steps.py", "return function(x) * 2", "return function(x) * 3"),
    "module constant through an attribute": ("settings/deep.py", "LIMIT = 100", "LIMIT = 101"),
    "constructor": ("helpers.py", "self.x = x", "self.x = x + 1"),
    "class of a base": ("helpers.py", "class Shape:", "class Base:\n    pass\n\nclass Shape(Base):"),
}

NO_EDITS = {
    "comment": ("steps.py", "# It adds up.", "# It sums up, as it were.\n    # At length."),
    "docstring": ("steps.py", '"""What it does."""', '"""Something else\n    altogether."""'),
    "docstring of a class": ("helpers.py", '"""A shape."""', '"""No shape."""'),
    "blank lines": ("steps.py", "FACTOR = 3\n", "\n\n\n\nFACTOR = 3\n\n\n"),
    "unrelated function": ("steps.py", "return x - 1", "return x - 2"),
    "unrelated constant": ("steps.py", "UNUSED = 1", "UNUSED = 2"),
    "formatting": (
        "helpers.py",
        "return deepest(x) + 1",
        "return (\n        deepest(\n            x,\n        ) + 1)",
    ),
    "nothing": ("steps.py", "", ""),
}


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def run(root: Path) -> str:
    """What a fresh process prints."""
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "random"}
    done = subprocess.run(
        [sys.executable, "main.py"], cwd=root, capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project that ran once."""
    root = tmp_path_factory.mktemp("built")
    for name, text in FILES.items():
        write(root, name, textwrap.dedent(text).lstrip())
    assert run(root).splitlines() == ["ran work", "ran outer", "ran inner", "277 4"]
    return root


def edited(built: Path, root: Path, name: str, before: str, after: str) -> str:
    """What a copy of the project prints after one edit."""
    shutil.copytree(built, root, dirs_exist_ok=True)
    text = (root / name).read_text()
    assert before in text
    write(root, name, text.replace(before, after, 1))
    return run(root)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_matters_makes_the_step_run(built, tmp_path, edit):
    """Each of the nine edits, and two more, is a miss of the step that reaches it and of no other."""
    lines = edited(built, tmp_path / "copy", *EDITS[edit]).splitlines()
    assert lines[0] == "ran work"
    assert len(lines) == 2


@pytest.mark.parametrize("edit", NO_EDITS)
def test_an_edit_that_does_not_matter_is_a_hit(built, tmp_path, edit):
    """Comments, docstrings, layout and what is not reached leave a result good, in another checkout too."""
    assert edited(built, tmp_path / "copy", *NO_EDITS[edit]) == "277 4\n"


def test_an_edit_of_an_inner_step_reaches_the_outer_one(built, tmp_path):
    """A step that calls another one depends on its code."""
    assert edited(
        built, tmp_path / "copy", "steps.py", 'print("ran inner")\n    return x + 1', "return x + 2"
    ).splitlines() == ["ran outer", "277 6"]  # fmt: skip


# -- in one process ------------------------------------------------------------------------------


FACTOR = 2
TABLE = {"a": 1}


def helper(x):
    return x * FACTOR


def work(x):
    return helper(x) + TABLE["a"]


@pytest.fixture
def cache(tmp_path):
    with Cache(tmp_path / "c") as cache:
        yield cache


def test_rebinding_what_a_step_reaches_is_seen_at_once(cache, monkeypatch):
    """A patched helper, constant or table makes the next call run; taking it back hits again."""
    step = cache.step(work)
    assert step(1) == step(1) == 3
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 5)
    assert step(1) == step(1) == 6
    monkeypatch.setattr(sys.modules[__name__], "helper", lambda x: 100)
    assert step(1) == 101
    monkeypatch.setitem(TABLE, "a", 2)
    assert step(1) == 102
    monkeypatch.undo()
    before = cache.stats().misses
    assert step(1) == 3
    assert cache.stats().misses == before


def test_replaced_code_is_seen_at_once(cache):
    """New code, defaults or a closure's cell of the very function object count."""

    def make():
        offset = 1

        def inner(x, y=1):
            return x + y + offset

        def move(by):
            nonlocal offset
            offset = by

        return inner, move

    inner, move = make()
    step = cache.step(inner)
    assert step(1) == 3
    move(10)
    assert step(1) == 12
    inner.__defaults__ = (100,)
    assert step(1) == 111


def test_shallow_and_none_see_less(cache, monkeypatch):
    """At "shallow" helpers are passed by but not its own body, at "none" all code."""
    shallow, none = cache.step(code="shallow")(work), cache.step(code="none")(work)
    assert shallow(1) == none(1) == 3
    monkeypatch.setattr(sys.modules[__name__], "helper", lambda x: 100)
    assert shallow(1) == none(1) == 3

    def other(x):
        return -x

    monkeypatch.setattr(work, "__code__", other.__code__)
    assert none(1) == 3
    assert shallow(1) == -1


def test_what_is_not_seen_is_listed(cache):
    """`explain` tells what the fingerprint passes by."""

    def fetch(name):
        import math

        return getattr(math, name)

    explained = cache.step(fetch).explain("pi")
    assert explained.unseen
    assert "not seen: " in str(explained)
