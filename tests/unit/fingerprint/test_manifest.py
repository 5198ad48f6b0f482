"""Manifests: one walk for machines and people."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vcache.entry import Dep
from vcache.errors import DecodeError, UsageError
from vcache.fingerprint import manifest as manifest_module
from vcache.fingerprint.manifest import Manifest

A = Dep("file", "a.c", b"1" * 32, b"hint", "")
B = Dep("file", "b.c", b"2" * 32)
CC = Dep("env", "CC", b"3" * 32, note="set")


def test_the_fingerprint_is_pinned() -> None:
    """These bytes are a format: a change here makes every cache in the world miss."""
    assert Manifest([A, B, CC]).fingerprint().hex() == PINNED
    assert Manifest().fingerprint().hex() == PINNED_EMPTY


def test_the_fingerprint_is_equal_in_another_process() -> None:
    """No hash seed has a say."""
    code = (
        "from vcache.entry import Dep; from vcache.fingerprint.manifest import Manifest;"
        "print(Manifest({Dep('file', 'a.c', b'1' * 32), Dep('file', 'b.c', b'2' * 32),"
        " Dep('env', 'CC', b'3' * 32)}).fingerprint().hex())"
    )
    for seed in ("0", "4711"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        found = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == PINNED


def test_inputs_are_sorted_and_counted_once() -> None:
    """Order and repetition mean nothing; of two hints the same one stays, whichever came first."""
    again = Dep("file", "a.c", A.identity, b"other", "x")
    assert Manifest([B, A, CC, A]).deps == (CC, A, B)
    assert Manifest([A, again]).deps[0].hint == Manifest([again, A]).deps[0].hint == b"other"
    assert len(Manifest([A, again])) == 1
    assert list(Manifest([B, A])) == [A, B]


def test_hints_and_notes_do_not_count() -> None:
    """What is for speed or for people changes no key."""
    assert (
        Manifest([Dep("f", "n", b"i", b"h", "o")]).fingerprint()
        == Manifest([Dep("f", "n", b"i")]).fingerprint()
    )


def test_whatever_is_hashed_is_described() -> None:
    """People see each input that counts, in the same order."""
    lines = Manifest([A, B, CC, Dep("absent", "x", b"")]).describe()
    assert [(line.kind, line.name) for line in lines] == [
        ("absent", "x"), ("env", "CC"), ("file", "a.c"), ("file", "b.c"),
    ]  # fmt: skip
    assert lines[0].identity == "absent"
    assert str(lines[1]).split() == ["env", "CC", "3" * 32, "(set)"]


@pytest.mark.parametrize(
    ("dep", "line"),
    [
        (Dep("python", "python", b"cpython-311"), "python   python  cpython-311"),
        (Dep("step", "m.f", b"1"), "step     m.f  1"),
        (Dep("arg", "n", b"\x01ia;", note="10"), "arg      n  10"),
        (Dep("arg", "n", b"\xab" * 32, note="[1, 2...]"), f"arg      n  {'ab' * 8}  ([1, 2...])"),
        (Dep("global", "m:UNIT", b"\x01s5:word", note="str"), "global   m:UNIT  s5:word  (str)"),
        (Dep("value", "v", b"x" * 41), f"value    v  {'78' * 8}"),
        (Dep("value", "v", b"a\nb"), "value    v  610a62"),
        (Dep("value", "v", b"\x01"), "value    v  01"),
        (Dep("entry", "\0sa", b"\x02" * 32), f"entry    a  {'02' * 8}"),
        (Dep("entry", "ns\0sa b", b"\x02" * 32), f"entry    a b (namespace ns)  {'02' * 8}"),
        (Dep("entry", "\0b\x01", b"\x02" * 32), f"entry    hex:01  {'02' * 8}"),
        (Dep("entry", "\0sa\n\0", b"\x02" * 32), f"entry    a\\n\\x00  {'02' * 8}"),
    ],
)
def test_a_line_is_for_people(dep: Dep, line: str) -> None:
    """Text is shown as text, digests by their beginning, and no canonical key as such."""
    assert [str(one) for one in Manifest([dep]).describe()] == [line]


def test_a_diff_names_what_changed() -> None:
    """Added, removed and changed inputs, with both sides."""
    other = Dep("file", "a.c", b"9" * 32)
    changes = Manifest([A, B]).diff(Manifest([other, CC]))
    assert [(change.what, change.kind, change.name) for change in changes] == [
        ("added", "env", "CC"),
        ("changed", "file", "a.c"),
        ("removed", "file", "b.c"),
    ]
    assert (changes[1].old, changes[1].new) == (A, other)
    assert (changes[0].old, changes[2].new) == (None, None)
    assert str(changes[0]) == "env CC: added (set)"
    assert Manifest([A]).diff(Manifest([A])) == ()


def test_a_changed_note_is_shown() -> None:
    """The notes of both sides tell what became of it."""
    unset = Dep("env", "CC", b"", note="unset")
    assert str(Manifest([unset]).diff(Manifest([CC]))[0]) == "env CC: changed (unset → set)"


def test_an_input_seen_in_two_states_is_a_difference() -> None:
    """A file that changed between two looks counts with both contents."""
    other = Dep("file", "a.c", b"9" * 32)
    assert Manifest([A, other]).fingerprint() != Manifest([A]).fingerprint()
    assert len(Manifest([A, other]).diff(Manifest([A]))) == 1


def test_the_nearest_has_the_fewest_differences() -> None:
    """The first of equals; none without candidates."""
    near, far = Manifest([A, CC]), Manifest([Dep("x", "y", b"z")])
    assert Manifest([A, B, CC]).nearest([far, near, Manifest([B, CC])]) is near
    assert Manifest([A]).nearest([]) is None


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"", "version 1"),
        (lambda data: data.replace(b"\x01", b"\x02", 1), "version 1"),
        (lambda data: data[:-1], "truncated"),
        (lambda data: data[:60], "claims"),
        (lambda data: data[:20], "truncated"),
        (lambda data: data + b"\0", "behind its end"),
        (lambda data: data[:14] + b"\xff\xff\xff\xff" + data[18:], "truncated|claims"),
        (lambda data: data[:18] + b"\xff\xff\xff\xff" + data[22:], "claims"),
        (lambda data: data.replace(b"a.c", b"\xff.c"), "UTF-8"),
        (lambda data: data.replace(b"a.c", b"z.c"), "canonical"),
        (lambda data: data.replace(b"b.c", b"a.c").replace(b"2" * 32, b"1" * 32), "canonical"),
    ],
)
def test_damaged_bytes_are_refused(damage: object, words: str) -> None:
    """Each way of being wrong is a DecodeError that says which."""
    assert callable(damage)
    with pytest.raises(DecodeError, match=words):
        Manifest.from_bytes(damage(Manifest([A, B]).to_bytes()))


def test_stored_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither written nor read beyond the limit."""
    data = Manifest([A, B]).to_bytes()
    monkeypatch.setattr(manifest_module, "MAX_STORED_BYTES", 100)
    with pytest.raises(UsageError, match="2 inputs"):
        Manifest([A, B]).to_bytes()
    with pytest.raises(DecodeError, match="too long"):
        Manifest.from_bytes(data)


PINNED = "b1d6babcf4c9aeaf4188a11c4315c788010764285c4cab483dd1b2a176764ed9"
PINNED_EMPTY = "8b47d9f6050fc7f29b29080da40b2507a1e69ea0a9123d90673c01a29a6b0f9b"
