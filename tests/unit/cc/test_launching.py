"""Making the helper, and what is put in front of its source."""

from __future__ import annotations

import os
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from vcache.cc import launching, lean


def test_any_text_is_a_literal(tmp_path):
    """Whatever bytes a path has, C reads the same."""
    text = os.fsdecode(bytes(range(1, 256)) + b'?" \\ ??/ %s')
    source = (
        f"#include <stdio.h>\nint main(void) {{ fputs({launching._literal(text)}, stdout); return 0; }}\n"
    )
    (tmp_path / "x.c").write_text(source)
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Werror", "x.c", "-o", "x"], cwd=tmp_path, check=True)
    assert os.fsdecode(subprocess.check_output([tmp_path / "x"])) == text


@given(st.binary(max_size=20).map(os.fsdecode))
def test_literals_are_plain(text):
    """A literal is one line of printable ASCII, and ends where it says."""
    literal = launching._literal(text)
    assert literal.isascii()
    assert literal.isprintable()
    assert '"' not in literal[1:-1]


def test_a_compiler_that_cannot_is_asked_once(tmp_path):
    """A failed attempt is remembered, for that compiler."""
    compiler = tmp_path / "gcc"
    compiler.write_text(f"#!/bin/sh\necho tried >> {tmp_path}/log\nexit 1\n")
    compiler.chmod(0o755)
    home = os.fspath(tmp_path / "cc")
    assert not launching.prepare(home, os.fspath(compiler))
    assert not launching.prepare(home, os.fspath(compiler))
    assert (tmp_path / "log").read_text() == "tried\n"
    assert not os.path.exists(f"{home}/{launching.HELPER}")


def test_a_helper_that_disagrees_is_not_taken(tmp_path, monkeypatch):
    """What names a record otherwise than Python does is no helper."""
    monkeypatch.setattr(lean, "record_path", lambda home, asked: "elsewhere")
    assert not launching.prepare(os.fspath(tmp_path / "cc"), "/usr/bin/gcc")


def test_without_a_helper_launchers_are_scripts(tmp_path, monkeypatch):
    """They start Python, and so the compiler of their name."""
    monkeypatch.setattr(launching, "prepare", lambda home, program: False)
    place = launching.launchers(os.fspath(tmp_path / "cc"))
    environ = {**os.environ, "VCACHE_DIR": os.fspath(tmp_path), "PATH": f"{place}:{os.environ['PATH']}"}
    done = subprocess.run(["gcc", "--version"], env=environ, capture_output=True, text=True, check=True)
    assert "gcc" in done.stdout.lower()
