"""Makes the shortest way: compiles `short.c` with the compiler that is wrapped, and links to it.

Nothing depends on it. Where it cannot be made, or does not agree with `lean` about the name of a
record, an interpreter answers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vcache.cc import lean
from vcache.fingerprint.compilers import is_compiler
from vcache.hash import digest

__all__ = ["HELPER", "launchers", "prepare"]

HELPER: Final = "bin/vcache-cc-1"
"""The compiled helper below the directory of records; the number is that of the records' layout."""

_ENTRY: Final = """\
import sys
sys.path.insert(0, {place!r})
from vcache.cc import lean
lean.main(sys.argv[1:])
import gc
gc.disable()
from vcache.cc import full
full.run(sys.argv[1:])
"""
_FLAGS: Final = ("-x", "c", "-std=c99", "-O2")
_DEADLINE_S: Final = 60.0
_PROBE: Final = ("cc", "-c", "a b.c", "-march=native", "-o", "a.o")


def prepare(home: str, program: str) -> bool:
    """Have the helper there, compiled by a compiler; whether it is. Tries once for each compiler and source.

    Args:
        home: the directory of the records.
        program: the path of a compiler.
    """
    helper = f"{home}/{HELPER}"
    known, look = _marks(f"{helper}.made"), _look()
    if look in known and os.access(helper, os.X_OK):
        return True
    source = _source()
    own = digest(source).hex()
    mark = digest(source + b"\0" + os.fsencode(program)).hex()
    if own in known and os.access(helper, os.X_OK):
        lean.write_file(f"{helper}.made", f"{own}\n{look}\n".encode(), mode=0o600)
        return True
    if mark in _marks(f"{helper}.tried"):
        return False
    os.makedirs(os.path.dirname(helper), mode=0o700, exist_ok=True)
    is_made = _made(helper, program, source)
    lean.write_file(f"{helper}.tried", f"{mark}\n".encode(), mode=0o600)
    if is_made:
        lean.write_file(f"{helper}.made", f"{own}\n{look}\n".encode(), mode=0o600)
    return is_made


def launchers(home: str) -> str:
    """A directory with the names of all compilers in PATH, each of which runs it through the cache.

    Args:
        home: the directory of the records.

    Raises:
        OSError: it cannot be written.
    """
    home = os.path.abspath(home)
    place = f"{home}/launchers"
    os.makedirs(place, mode=0o700, exist_ok=True)
    names = sorted(_compilers(place))
    is_made = any(
        prepare(home, lean.find_compiler(name, home)) for name in ("cc", "gcc", "clang") if name in names
    )
    for name in names:
        path = f"{place}/{name}"
        temporary = f"{path}.{os.getpid()}.vcc"
        if is_made:
            os.symlink(f"../{HELPER}", temporary)
        else:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(_script(name))
            os.chmod(temporary, 0o700)
        os.replace(temporary, path)
    return place


def _compilers(passed_over: str) -> Iterator[str]:
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if directory == passed_over:
            continue
        directory = directory or "."  # as a shell reads an empty one
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        yield from (name for name in names if is_compiler(name) and os.access(f"{directory}/{name}", os.X_OK))


def _script(name: str) -> str:
    from shlex import quote

    words = (sys.executable, "-I", "-S", "-c", _entry(), name)
    return f'#!/bin/sh\nexec {" ".join(map(quote, words))} "$@"\n'


def _entry() -> str:
    return _ENTRY.format(place=os.fspath(Path(__file__).parents[2]))


def _look() -> str:
    """What changes whenever `_source` may, at a tenth of its cost."""
    files = (__file__, lean.__file__, os.path.join(os.path.dirname(__file__), "short.c"))
    words = (sys.executable, *files, *map(lean.signature, map(os.stat, files)))
    return digest(os.fsencode("\0".join(words))).hex()


def _source() -> bytes:
    """`short.c`, with what is known here only put in front of it."""
    heeded = ", ".join(_literal(name.decode()) for name in sorted(lean.HEEDED))
    facts = ", ".join(_literal(fact.decode()) for fact in lean.CPU_FACTS)
    head = (
        f"#define PYTHON {_literal(sys.executable)}\n#define ENTRY {_literal(_entry())}\n"
        f"#define HEEDED {heeded}\n#define CPU_FACTS {facts}\n"
    )
    return head.encode() + Path(__file__).with_name("short.c").read_bytes()


def _literal(text: str) -> str:
    """A C string literal of a text, whatever bytes it has."""
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}"
        for byte in os.fsencode(text)
    )
    return f'"{plain}"'


def _made(helper: str, program: str, source: bytes) -> bool:
    import subprocess  # 9 ms, once a compiler

    temporary = f"{helper}.{os.getpid()}.vcc"
    try:
        done = subprocess.run(
            [program, *_FLAGS, "-o", temporary, "-"],
            input=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_DEADLINE_S,
            check=False,
        )
        if done.returncode or not _agrees(temporary):
            return False
        os.replace(temporary, helper)
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return True


def _agrees(helper: str) -> bool:
    """Whether a helper runs here, and knows the place of a record as `lean` does."""
    import subprocess

    home, words = lean.home(), list(_PROBE)
    asked = lean.request(lean.find_compiler(words[0], home), words, os.getcwd())
    variables = {
        name: value for name, value in os.environ.items() if name not in ("VCACHE_CC_LOG", "VCACHE_DISABLE")
    }
    done = subprocess.run(
        ["vcache-cc", "--vcache-name", *words],
        executable=os.path.abspath(helper),
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=_DEADLINE_S,
        check=False,
    )
    return done.stdout == os.fsencode(f"{lean.record_path(home, asked)}\n")


def _marks(path: str) -> set[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return set(file.read().split())
    except OSError:
        return set()
