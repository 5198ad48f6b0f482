"""Compiler drivers: the programs they start, and the variables they heed.

`gcc` is a small driver; the work is done by `cc1`, `as` and `ld`, which packages replace one by one.
The driver itself is asked which ones those are. It knows no cache: answers are kept in what its
caller brings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from vcache.fingerprint.digests import signature
from vcache.fingerprint.tools import find_tool
from vcache.hash import DIGEST_BYTES, digest

if TYPE_CHECKING:
    from vcache.fingerprint.digests import Backing

__all__ = ["HEEDED", "compiler_tools", "is_compiler"]

# Sources: the manuals of gcc ("Environment Variables Affecting GCC"), cpp ("Environment Variables") and
# clang (its man page, and Driver::BuildCompilation for the last two), of GNU ld ("Environment Variables").
HEEDED: Final = (
    # Where headers and libraries are sought, and the driver's own programs: the output.
    "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH",
    "LIBRARY_PATH", "LD_RUN_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX",
    # What __DATE__ and __TIME__ say, and flags that nobody sees on the command line: the output.
    "SOURCE_DATE_EPOCH", "GCC_COMPARE_DEBUG", "CCC_OVERRIDE_OPTIONS", "CLANG_NO_DEFAULT_CONFIG",
    "SDKROOT", "MACOSX_DEPLOYMENT_TARGET",
    # Rules for make, written beside the output.
    "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES",
    # How strings are read (LC_CTYPE), and language and looks of what is said.
    "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES",
    "GCC_COLORS", "GCC_URLS", "GCC_EXTRA_DIAGNOSTIC_OUTPUT",
)  # fmt: skip
"""The environment variables that the compilers known here heed."""

_DRIVER: Final = r"(?:.+-)?(gcc|g\+\+|cc|c\+\+|c89|c99|gfortran|clang|clang\+\+)(?:-\d+(?:\.\d+)*)?"
_PROGRAMS: Final = ("cc1", "cc1plus", "as", "collect2", "ld", "lto1", "lto-wrapper")
_MORE: Final = {"gfortran": ("f951",)}
_CLANG_PROGRAMS: Final = ("as", "ld")  # clang compiles and assembles itself
# What decides on the answer, beside the driver.
_SWAYING: Final = ("COMPILER_PATH", "GCC_EXEC_PREFIX")
_DEADLINE_S: Final = 10.0
_BACKING_PREFIX: Final = b"compiler-tools\x01"
_known: dict[tuple[str, bytes], tuple[str, ...]] = {}


def is_compiler(path: str) -> bool:
    """Whether a path's name is that of a compiler driver, such as `aarch64-linux-gnu-gcc-12`."""
    return re.fullmatch(_DRIVER, os.path.basename(path)) is not None


def compiler_tools(path: str, *, backing: Backing | None = None) -> tuple[str, ...]:
    """The programs that a compiler driver starts, as names or paths for `Tool`; none for others.

    Args:
        path: of an executable. Its own name counts, and that of the file which links lead to.
        backing: remembers answers across processes, until the driver or a directory of its
            programs changes.
    """
    name = next((each for each in (path, os.path.realpath(path)) if is_compiler(each)), None)
    if name is None:
        return ()
    try:
        about = signature(os.stat(path))
    except OSError:
        return ()
    swayed = "\0".join(os.environ.get(variable, "") for variable in _SWAYING)
    key = path, about + os.fsencode(swayed)
    if key not in _known:
        _known[key] = _remembered(path, name, key[1], backing)
    # Installed or removed since, or found elsewhere: a name without "/" depends on PATH.
    return tuple(tool for tool in _known[key] if find_tool(tool, os.environ) is not None)


def _remembered(path: str, name: str, about: bytes, backing: Backing | None) -> tuple[str, ...]:
    """The driver's answer, from the last time it was asked if nothing changed."""
    if backing is None:
        return _asked(path, name)
    key = _BACKING_PREFIX + digest(os.fsencode(path) + b"\0" + about)
    stored = backing.get(key)
    if stored is not None:
        tools = tuple(os.fsdecode(stored[DIGEST_BYTES:]).split("\0"))
        if stored[:DIGEST_BYTES] == _surroundings(tools):
            return tools
    tools = _asked(path, name)
    if tools:  # what did not answer is asked again
        backing.put(key, _surroundings(tools) + os.fsencode("\0".join(tools)))
    return tools


def _asked(path: str, name: str) -> tuple[str, ...]:
    import subprocess  # 9 ms, once a compiler

    family = re.fullmatch(_DRIVER, os.path.basename(name))
    assert family is not None
    kind = family[1]
    programs = _CLANG_PROGRAMS if kind.startswith("clang") else _PROGRAMS + _MORE.get(kind, ())
    # A driver answers one question a run: a shell asks them all, in 1 ms each.
    argv = ("/bin/sh", "-c", 'for p; do "$0" -print-prog-name="$p"; done', path, *programs)
    try:
        answer = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_DEADLINE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = os.fsdecode(answer.stdout).splitlines()
    # Not a name from the list, and not a path: it printed something else, and is no driver.
    return tuple(dict.fromkeys(line for line in lines if line.startswith("/") or line in programs))


def _surroundings(tools: Sequence[str]) -> bytes:
    """A digest of the directories that programs lie in: a package that adds one changes them."""
    states = []
    for directory in dict.fromkeys(os.path.dirname(tool) for tool in tools if tool.startswith("/")):
        try:
            states.append(signature(os.stat(directory)))
        except OSError:
            states.append(b"")
    return digest(b"\0".join(states))
