"""The long way of `vcache cc`: asks the cache, runs the compiler, keeps the result, leaves a record.

Loaded only when a record was not the answer. Whatever goes wrong with the cache, the compiler runs:
a build must never fail for being cached. It reads no terminal options but `--stats` and `--explain`.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from vcache.cc import lean, records
from vcache.cc.arguments import TooHard, parse
from vcache.cc.running import become, end_as
from vcache.fingerprint.compilers import is_compiler
from vcache.kit.units import yes_or_no

if TYPE_CHECKING:
    from vcache.cc.arguments import Compile

__all__ = ["main", "run"]

_HELP: Final = """Usage: vcache cc [--explain] COMPILER [ARGS]...
       vcache cc --stats | --zero-stats | --launchers

Run gcc or clang, or answer from the cache what it once made: CC="vcache cc gcc" make.

  --explain    say whether and why the answer comes from the cache, then go on
  --stats      hits, misses, and why commands were run as they are
  --zero-stats start counting anew
  --launchers  print a directory with a gcc, clang, … for the front of PATH

VCACHE_CC_LOG=FILE notes what became of each command. The cache is that of all of vcache
(VCACHE_DIR, vcache.toml); VCACHE_ROOT names the project's directory, in which paths are relative;
else it is the nearest one with .git, .hg, vcachefile.py or vcache.toml. VCACHE_DISABLE=1 runs
every command as it is.
"""
_NOT_FOUND: Final = 127
_USAGE: Final = 2


def run(argv: list[str]) -> NoReturn:
    """Do what a command line says, and end the process."""
    # As `cli.app.main`: everything is short-lived, collecting and taking down cost 10 ms.
    gc.disable()
    status = main(argv)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = status or 1
    os._exit(status)


def main(argv: list[str]) -> int:
    """What a command line of `vcache cc` comes to, as an exit code.

    Args:
        argv: options of our own, then the compiler and its arguments.
    """
    explains = False
    while argv and argv[0].startswith("-"):
        match argv[0]:
            case "--explain":
                explains = True
            case "--":
                argv = argv[1:]
                break
            case _:
                return _options(argv)
        argv = argv[1:]
    if not argv:
        os.write(2, b"vcache cc: give a compiler and its arguments, such as `vcache cc gcc -c x.c`\n")
        return _USAGE
    program = lean.find_compiler(argv[0], lean.home())
    if not program:
        os.write(2, os.fsencode(f"vcache cc: {argv[0]}: there is no such program in PATH\n"))
        return _NOT_FOUND
    return _Wrapped(program, argv, explains=explains).status()


def _options(argv: list[str]) -> int:
    if argv[0] in ("-h", "--help"):
        sys.stdout.write(_HELP)
        return 0
    if argv == ["--stats"]:
        sys.stdout.write(records.Counts(lean.home()).report())
        return 0
    if argv == ["--zero-stats"]:
        records.Counts(lean.home()).reset()
        return 0
    if argv == ["--launchers"]:
        from vcache.cc import launching

        sys.stdout.write(f"{launching.launchers(lean.home())}\n")
        return 0
    os.write(2, os.fsencode(f"vcache cc: no such option: {argv[0]} (try --help)\n"))
    return _USAGE


class _Wrapped:
    """One command of a compiler."""

    def __init__(self, program: str, argv: list[str], *, explains: bool) -> None:
        self._program, self._argv, self._explains = program, argv, explains
        self._counts = records.Counts(lean.home())

    def status(self) -> int:
        if yes_or_no(os.environ.get("VCACHE_DISABLE", "")):
            return self._as_it_is(TooHard("caching is disabled"), is_counted=False)
        parsed = self._parsed()
        if isinstance(parsed, TooHard):
            return self._as_it_is(parsed)
        from vcache.cc.compiling import Compilation, Unusable

        try:
            compilation = Compilation(self._program, parsed, say=self._say)
        except Unusable as error:
            return self._as_it_is(TooHard(str(error)))
        except Exception as error:  # a fault of ours must not be a fault of the build
            return self._as_it_is(TooHard("a fault of vcache", repr(error)))
        if self._explains:
            compilation.explain()
        return end_as(compilation.status(self._counts))

    def _parsed(self) -> Compile | TooHard:
        if not is_compiler(self._argv[0]):
            return TooHard("not a compiler that is understood", os.path.basename(self._argv[0]))
        for name in ("DEPENDENCIES_OUTPUT", "SUNPRO_OUTPUT"):
            if os.environ.get(name):
                return TooHard("a variable asks for another file", name)
        return parse(tuple(self._argv), read=_read)

    def _as_it_is(self, why: TooHard, *, is_counted: bool = True) -> int | NoReturn:  # noqa: RUF020
        self._say(f"run as it is: {why}")
        if is_counted:
            self._counts.add(f"raw {why.reason}")
        return become(self._program, self._argv[1:])

    def _say(self, words: str) -> None:
        """Tell who asked to be told."""
        if self._explains:
            os.write(2, f"vcache cc: {words}\n".encode("utf-8", "surrogateescape"))
        if b"VCACHE_CC_LOG" in os.environb:
            lean.log(words, self._argv)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None
