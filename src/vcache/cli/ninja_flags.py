"""The words behind `vcache-ninja`, read as ninja 1.13 reads them. It runs nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from vcache.cli.getopt import BadOption, Options
from vcache.kit.data import dataclass, field

if TYPE_CHECKING:
    from vcache.dag.ninja.status import Verbosity

__all__ = ["MANY", "TOOLS", "VERSION", "Flags", "Stop", "nearest", "read"]

VERSION: Final = "1.13.0"
"""The ninja that this stands in for: what `--version` says. CMake and Meson compare it."""

MANY: Final = 4096
"""How many jobs `-j 0` stands for: as many as a jobserver's pipe holds tokens for."""

TOOLS: Final = {
    "browse": "show the dependency graph in a browser (not offered: see -t graph)",
    "clean": "remove built files",
    "commands": "list the commands that make the given targets",
    "inputs": "list the inputs that make the given targets",
    "multi-inputs": "list the inputs of each of the given targets",
    "deps": "show the dependencies that runs discovered",
    "missingdeps": "find discovered dependencies on generated files that are not declared",
    "graph": "write the graph of targets for graphviz's dot",
    "query": "show what a path is made from and used for",
    "targets": "list targets by rule or by depth in the graph",
    "compdb": "write a JSON compilation database",
    "compdb-targets": "write a JSON compilation database of the given targets",
    "recompact": "tidy what is remembered of earlier runs",
    "restat": "take files as they are for what was made",
    "rules": "list all rules",
    "cleandead": "remove files that the manifest made once and does not make any more",
}

_MODES: Final = {
    "stats": "print counts and times of what was done",
    "explain": "say why each command runs",
    "keepdepfile": "leave depfiles after they were read",
    "keeprsp": "leave response files after success",
}
_SILENT_MODES: Final = frozenset({"nostatcache"})  # for Windows; taken everywhere
_WARNINGS: Final = frozenset({"phonycycle=err", "phonycycle=warn"})
_OLD_WARNINGS: Final = frozenset({"dupbuild=err", "dupbuild=warn", "depfilemulti=err", "depfilemulti=warn"})
_NUMBER: Final = re.compile(r"\s*[+-]?\d+", re.ASCII)
_FLOAT: Final = re.compile(
    r"\s*[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|inf)", re.ASCII | re.IGNORECASE
)
_NEAR: Final = 3  # edits: what ninja takes for a slip of the pen
_LONG: Final = {"help": "h", "version": "version", "verbose": "v", "quiet": "quiet"}


class Stop(Exception):
    """There is nothing to build: an answer was asked for, or a word is wrong.

    Attributes:
        status: what to exit with.
        out, err: what goes to standard output and standard error.
    """

    def __init__(self, status: int, *, out: str = "", err: str = "") -> None:
        super().__init__(err or out)
        self.status = status
        self.out = out
        self.err = err


@dataclass(slots=True, kw_only=True)
class Flags:
    """What was asked for.

    Attributes:
        directory: where to go first; "" for here.
        jobs: how many at once; None for what the machine has.
        keep_going: how many failures end the run; 0 for none.
        load_limit: no more are started above it; None for no limit.
        modes: of `-d`.
        is_phonycycle_error: a phony target that names itself is a fault.
        tool: of `-t`; "" for a build.
        words: targets, or the words behind the tool.
        warnings: lines for standard error.
    """

    directory: str = ""
    file: str = "build.ninja"
    jobs: int | None = None
    keep_going: int = 1
    load_limit: float | None = None
    is_dry_run: bool = False
    verbosity: Verbosity = "normal"
    modes: set[str] = field(default_factory=set)
    is_phonycycle_error: bool = False
    tool: str = ""
    words: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read(words: Sequence[str]) -> Flags:
    """What a command line asks for.

    Raises:
        Stop: it asks for no build and no tool, or is wrong.
    """
    flags = Flags()
    options = Options(words, "d:f:j:k:l:nt:vw:C:h", _LONG)
    try:
        for name, value in options:
            _ACTIONS[name](flags, value)
            if flags.tool:  # what follows is the tool's
                flags.words = options.rest()
                return flags
    except BadOption as error:
        raise Stop(1, err=f"ninja: {error}\n{_usage()}") from None
    flags.words = options.operands
    return flags


def _usage() -> str:
    """What the flags are."""
    return f"""usage: ninja [options] [targets...]

Without targets, the manifest's defaults are made.

options:
  --version      print the version of ninja that this stands in for ("{VERSION}")
  -v, --verbose  show whole commands
  --quiet        show no status lines, only what commands write

  -C DIR   change to DIR first
  -f FILE  read FILE [default=build.ninja]

  -j N     run N jobs at once (0: no bound) [default={_default_jobs()} here]
  -k N     go on until N jobs have failed (0: no bound) [default=1]
  -l N     start no more jobs while the load average is above N
  -n       dry run: say what would be run

  -d MODE  debug (-d list names the modes)
  -t TOOL  run a tool (-t list names the tools); what follows is for the tool
  -w FLAG  change warnings (-w list names the flags)
"""


def _default_jobs() -> int:
    from vcache.dag.local import default_slots

    return default_slots()


def _jobs(flags: Flags, value: str) -> None:
    number = int(value) if _NUMBER.fullmatch(value) else -1
    if number < 0:
        raise Stop(1, err="ninja: fatal: invalid -j parameter\n")
    flags.jobs = min(number or MANY, MANY)


def _keep_going(flags: Flags, value: str) -> None:
    if not _NUMBER.fullmatch(value):
        raise Stop(1, err="ninja: fatal: -k parameter not numeric; did you mean -k 0?\n")
    flags.keep_going = max(int(value), 0)


def _load(flags: Flags, value: str) -> None:
    found = _FLOAT.match(value)
    if found is None:
        raise Stop(1, err="ninja: fatal: -l parameter not numeric: did you mean -l 0.0?\n")
    limit = float(found.group())
    flags.load_limit = limit if 0 < limit < math.inf else None


def _mode(flags: Flags, value: str) -> None:
    if value == "list":
        lines = [f"  {name:<11}  {text}\n" for name, text in _MODES.items()]
        raise Stop(1, out="debugging modes:\n" + "".join(lines) + "several may be given: -d FOO -d BAR\n")
    if value not in _MODES and value not in _SILENT_MODES:
        raise Stop(1, err=f"ninja: error: unknown debug setting '{value}'{_meant(value, _MODES)}\n")
    flags.modes.add(value)


def _warning(flags: Flags, value: str) -> None:
    if value == "list":
        raise Stop(
            1, out="warning flags:\n  phonycycle={err,warn}  a phony target names itself as an input\n"
        )
    if value in _OLD_WARNINGS:
        flags.warnings.append(f"ninja: warning: deprecated warning '{value.partition('=')[0]}'")
    elif value in _WARNINGS:
        flags.is_phonycycle_error = value.endswith("=err")
    else:
        raise Stop(1, err=f"ninja: error: unknown warning flag '{value}'{_meant(value, sorted(_WARNINGS))}\n")


def _tool(flags: Flags, value: str) -> None:
    if value == "list":
        lines = [f"{name:>11}  {text}\n" for name, text in TOOLS.items()]
        raise Stop(0, out="ninja subtools:\n" + "".join(lines))
    if value not in TOOLS:
        raise Stop(1, err=f"ninja: fatal: unknown tool '{value}'{_meant(value, TOOLS)}\n")
    flags.tool = value


def _help(flags: Flags, value: str) -> None:
    raise Stop(1, err=_usage())


def _version(flags: Flags, value: str) -> None:
    raise Stop(0, out=f"{VERSION}\n")


def _verbose(flags: Flags, value: str) -> None:
    flags.verbosity = "verbose"


def _quiet(flags: Flags, value: str) -> None:
    flags.verbosity = "quiet"


def _dry_run(flags: Flags, value: str) -> None:
    flags.is_dry_run = True


def _file(flags: Flags, value: str) -> None:
    flags.file = value


def _directory(flags: Flags, value: str) -> None:
    flags.directory = value


_ACTIONS: Final[dict[str, Callable[[Flags, str], None]]] = {
    "d": _mode,
    "f": _file,
    "j": _jobs,
    "k": _keep_going,
    "l": _load,
    "n": _dry_run,
    "t": _tool,
    "v": _verbose,
    "w": _warning,
    "C": _directory,
    "h": _help,
    "version": _version,
    "quiet": _quiet,
}


def _meant(word: str, choices: Sequence[str] | dict[str, str]) -> str:
    found = nearest(word, choices)
    return f", did you mean '{found}'?" if found else ""


def nearest(word: str, choices: Sequence[str] | dict[str, str]) -> str:
    """The choice at most three edits away, the nearest and then the first; "" for none."""
    best, found = _NEAR + 1, ""
    for choice in choices:
        distance = _edits(word, choice)
        if distance < best:
            best, found = distance, choice
    return found


def _edits(left: str, right: str) -> int:
    """Insertions, deletions and replacements between two words (Levenshtein)."""
    row = list(range(len(right) + 1))
    for index, char in enumerate(left, 1):
        previous, row[0] = row[0], index
        for column, other in enumerate(right, 1):
            previous, row[column] = (
                row[column],
                min(previous + (char != other), row[column] + 1, row[column - 1] + 1),
            )
    return row[-1]
