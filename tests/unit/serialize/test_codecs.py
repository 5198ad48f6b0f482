from __future__ import annotations

import pickle
import subprocess
import sys
from decimal import Decimal

import pytest

from vcache.errors import DecodeError, EncodeError
from vcache.serialize import Packed, dump, load


class Opaque:
    """A class that no codec takes."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Opaque

    __hash__ = None  # type: ignore[assignment]


def content_of(packed: Packed) -> bytes:
    content = b"".join(packed.parts)
    assert len(content) == packed.size_bytes
    return content


@pytest.mark.parametrize(
    ("value", "codec", "content"),
    [
        (b"ab", "bytes", b"ab"),
        (memoryview(b"ab"), "bytes", b"ab"),
        (memoryview(b"abcd")[::2], "bytes", b"ac"),
        (memoryview(b"ab\0\0").cast("I"), "bytes", b"ab\0\0"),
        ("é", "str", "é".encode()),
        ("\udc80", "str", b"\xed\xb2\x80"),
        ({"a": 1}, "msgpack", b"\x81\xa1a\x01"),
        (None, "msgpack", b"\xc0"),
    ],
)
def test_the_codec_and_the_very_bytes(value, codec, content):
    """A value's type picks its codec; bytes and text are stored as they are."""
    packed = dump(value)
    assert packed.codec == codec
    assert content_of(packed) == content


def test_bytes_are_never_copied():
    """The content of bytes is the very object, on the way out and on the way in."""
    value = bytes(1000)
    assert dump(value).parts[0] is value
    assert load("bytes", value) is value


@pytest.mark.parametrize("value", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
def test_the_codec_bytes_gives_bytes(value):
    """Whatever buffer goes in by codec="bytes", bytes come out."""
    packed = dump(value, codec="bytes")
    found = load(packed.codec, memoryview(content_of(packed)))
    assert type(found) is bytes
    assert found == b"ab"


@pytest.mark.parametrize("codec", ["bytes", "str", "numpy", "arrow", "error"])
def test_a_codec_refuses_what_it_does_not_take(codec):
    """A value of another type is an EncodeError that names codec and type."""
    with pytest.raises(EncodeError, match=rf"{codec}.*dict"):
        dump({}, codec=codec)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            Opaque(),
            r"^value: a .*Opaque cannot be stored; remedy: codec=\"pickle\" in a Cache\(\.\.\., allow_pickle=True\), or",
        ),
        ({"a": [1, 2, 3, Opaque()]}, r"^value\['a'\]\[3\]: a .*Opaque"),
        ([(1, {"k": Opaque()})], r"^value\[0\]\[1\]\['k'\]: "),
        ({1: {Decimal(1): print}}, r"^value\[1\]\[Decimal\('1'\)\]: a builtin_function_or_method"),
        ({(1, sys): 1}, r"^value, key \(1, <module 'sys' \(built-in\)>\)\[1\]: a module"),
    ],
)
def test_an_error_has_the_path_and_the_remedy(value, message):
    """A value that cannot be stored gives the path to its failing part."""
    with pytest.raises(EncodeError, match=message) as caught:
        dump(value)
    assert "vcache.codecs" in str(caught.value)


def test_a_value_that_holds_itself_is_refused():
    """A value without an end is an EncodeError, not a hang or a RecursionError."""
    endless: list[object] = []
    endless.append((endless,))
    with pytest.raises(EncodeError, match="itself"):
        dump(endless)


@pytest.mark.parametrize("kind", [list, tuple])
def test_what_is_deep_comes_back_or_is_refused(kind):
    """A thousand levels come back; what is deeper than msgpack reads is refused when it is stored."""
    for depth in (100, 1000, 1100, 5000):
        value: object = kind()
        for _ in range(depth):
            value = kind([value])
        try:
            packed = dump(value)
        except EncodeError:
            assert depth > 1000
            continue
        assert depth <= 1000
        found = load(packed.codec, content_of(packed))
        for _ in range(depth):
            assert type(found) is kind
            found = found[0]  # type: ignore[index]


def test_pickle_only_when_asked_for():
    """Pickle is used when its codec is named, or as a fallback that was allowed; never else."""
    with pytest.raises(EncodeError):
        dump(Opaque())
    assert dump(Opaque(), allow_pickle=True).codec == "pickle"
    assert dump({"a": 1}, allow_pickle=True).codec == "msgpack"
    packed = dump(Opaque(), codec="pickle")
    assert load("pickle", content_of(packed), allow_pickle=True) == Opaque()


def test_a_pickle_is_not_loaded_unasked():
    """Content that says it is a pickle is not run unless the caller allows it."""
    with pytest.raises(DecodeError, match="allow_pickle"):
        load("pickle", pickle.dumps(1))


def test_pickle_failures_are_ours():
    """What pickle refuses is an EncodeError or DecodeError."""
    with pytest.raises(EncodeError, match="pickled"):
        dump(lambda: 1, codec="pickle")
    with pytest.raises(DecodeError, match="pickle"):
        load("pickle", b"\x80\x05broken", allow_pickle=True)


def test_text_that_is_no_utf8_is_refused():
    """Content of codec "str" that is no UTF-8 is a DecodeError."""
    with pytest.raises(DecodeError, match="UTF-8"):
        load("str", b"\xff\xfe")


@pytest.mark.parametrize("codec", ["numpy", "arrow", "error"])
def test_the_root_is_what_the_codec_says(codec):
    """Content of a codec for one kind of value, with another kind in it, is refused."""
    with pytest.raises(DecodeError, match=codec):
        load(codec, b"\x81\xa1a\x01")


def test_nothing_is_imported_before_it_is_needed():
    """Importing the package and storing bytes and text load none of the format libraries."""
    program = """
import sys
import vcache.serialize as s
assert s.load("bytes", s.dump(b"x").parts[0]) == b"x"
assert s.load("str", s.dump("x").parts[0]) == "x"
assert s.unpack(s.pack([b"x"], 1)[0], b"x", size_bytes=1) == b"x"
assert s.is_immutable((1, "a"))
heavy = {"msgpack", "lz4", "zstandard", "numpy", "pyarrow", "pickle", "importlib.metadata", "datetime", "decimal"}
print(sorted(heavy & set(sys.modules)))
s.dump({"a": (1, 2)})
s.pack([b"a" * 2000], 2000)
print(sorted({"zstandard", "numpy", "pyarrow", "pickle", "decimal", "uuid", "pathlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = done.stdout.splitlines()
    assert before == "[]"
    assert set(after.strip("[]").replace("'", "").split(", ")) <= {"", "pathlib"}  # lz4 imports it
