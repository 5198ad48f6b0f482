from __future__ import annotations

import socket
import sys

import pytest

from vcache.errors import DecodeError, StepError
from vcache.serialize import dump, load

ran: list[str] = []


class Custom(Exception):
    """Asks for other arguments than it keeps, and has attributes."""

    def __init__(self, code: int, *, hint: str) -> None:
        ran.append("init")
        super().__init__(f"code {code}")
        self.code = code
        self.hint = hint


class CustomOs(OSError):
    def __init__(self, path: str) -> None:
        ran.append("init")
        super().__init__(2, "gone", path)
        self.extra = [path]


class Speaks(Exception):
    def __str__(self) -> str:
        return f"it says {self.args[0]}"


class Guarded(Exception):
    @property
    def code(self) -> int:
        return 1

    @code.setter
    def code(self, value: int) -> None:
        ran.append("setter")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def back(error: Exception, **options: bool) -> Exception:
    packed = dump(error)
    assert packed.codec == "error"
    found = load("error", b"".join(packed.parts), **options)
    assert isinstance(found, Exception)
    return found


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        ValueError("a", 1, (2,)),
        KeyError("k"),
        FileNotFoundError(2, "no", "file"),
        OSError(2, "no", "a", None, "b"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
        ImportError("no", name="m", path="p"),
        StopIteration(5),
        SyntaxError("bad", ("f", 1, 2, "text", 1, 3)),
        ExceptionGroup("both", [ValueError(1), KeyError("k")]),
        Custom(3, hint="h"),
        CustomOs("path"),
        Speaks("this"),
        Mute(1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_come_back(error):
    """An exception comes back with its class, arguments, attributes and text; no code of its class runs."""
    packed = b"".join(dump(error).parts)
    ran.clear()
    found = load("error", packed)
    assert ran == []
    assert type(found) is type(error)
    assert repr(found) == repr(error)
    if not isinstance(error, Mute):
        assert str(found) == str(error)
    assert {n: v for n, v in vars(found).items() if n != "__notes__"} == vars(error)


@pytest.mark.parametrize("name", ["errno", "strerror", "filename", "filename2", "extra"])
def test_native_attributes_come_back(name):
    """What Python keeps outside of an exception's dict is there again."""
    error = CustomOs("path")
    assert getattr(back(error), name) == getattr(error, name)


def test_no_setter_runs():
    """An attribute is put back where it was, past any property."""
    error = Guarded("x")
    vars(error)["code"] = 5
    found = back(error)
    assert ran == [] or "setter" not in ran
    assert vars(found)["code"] == 5


def test_the_traceback_is_a_note():
    """Where an exception was first raised is told, once, however often it is stored."""
    first = raised(ValueError("x"))
    first.add_note("my own")
    second = back(first)
    assert second.__notes__[0] == "my own"
    assert "test_failures.py" in second.__notes__[1]
    assert "in raised" in second.__notes__[1]
    third = back(raised(second))
    assert len(third.__notes__) == 2


def test_a_class_that_is_not_here_gives_a_step_error(monkeypatch):
    """An exception whose class is gone becomes a StepError that says the same."""
    packed = b"".join(dump(Custom(3, hint="h")).parts)
    monkeypatch.delattr(sys.modules[__name__], "Custom")
    found = load("error", packed)
    assert type(found) is StepError
    assert str(found) == "Custom: code 3"


def test_arguments_that_cannot_be_stored_give_a_step_error():
    """An exception that holds a socket is remembered by its text."""
    with socket.socket() as held:
        found = back(raised(ValueError("x", held)))
    assert type(found) is StepError
    assert str(found).startswith("ValueError: ('x', <socket")
    assert "in raised" in found.__notes__[0]


def test_a_local_class_gives_a_step_error():
    """An exception of a class local to a function is remembered by its text."""

    class Local(Exception):
        pass

    found = back(Local("x"))
    assert type(found) is StepError
    assert str(found).endswith("Local: x")


def test_a_class_that_is_no_exception_is_not_built(monkeypatch):
    """A name that stands for no exception is not built: the text remains."""
    packed = b"".join(dump(Custom(3, hint="h")).parts)
    for replacement in (dict, KeyboardInterrupt, SystemExit):
        monkeypatch.setattr(sys.modules[__name__], "Custom", replacement)
        assert type(load("error", packed)) is StepError


def test_exceptions_as_parts():
    """An exception inside a value comes back there."""
    packed = dump({"failed": [ValueError(1)]})
    found = load(packed.codec, b"".join(packed.parts))
    assert repr(found) == "{'failed': [ValueError(1)]}"


def test_forged_parts_are_refused():
    """What are not the parts of an exception is a DecodeError."""
    content = b"".join(dump(ValueError("text")).parts)
    with pytest.raises(DecodeError):
        load("error", content.replace(b"\xa4text\xa0", b"\xa4text\xc0"))
