"""`vcache-ninja -t TOOL`: the words behind a tool, and printing what it tells."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from vcache.cli.getopt import BadOption, Options
from vcache.cli.ninja_flags import Flags, Stop, nearest

if TYPE_CHECKING:
    from vcache.dag.ninja.cleaning import Cleaner
    from vcache.dag.ninja.load import NinjaGraph
    from vcache.dag.node import Node

__all__ = ["run"]

_MISSING_DEPS = 3

_CLEAN = """usage: ninja -t clean [options] [targets]

options:
  -g     remove what generator rules made, too
  -r     the words are names of rules, whose outputs are removed
"""
_COMMANDS = """usage: ninja -t commands [options] [targets]

options:
  -s     only the command that makes each target itself, not those before it
"""
_COMPDB = """usage: ninja -t compdb [options] [rules]

options:
  -x     put the content of @rspfile response files in their place
"""
_COMPDB_TARGETS = """usage: ninja -t compdb-targets [-hx] target [targets]

options:
  -h     print this
  -x     put the content of @rspfile response files in their place
"""
_RULES = """usage: ninja -t rules [options]

options:
  -d     print descriptions, too
  -h     print this
"""
_RESTAT = "usage: ninja -t restat [outputs]\n"
_INPUTS = """usage: ninja -t inputs [options] [targets]

Lists all that goes into targets, but for phony names: quoted for a shell, and sorted.

options:
  -h, --help              print this
  -0, --print0            end each with a NUL
  -E, --no-shell-escape   do not quote
  -d, --dependency-order  each after what it is made from
"""
_MULTI_INPUTS = """usage: ninja -t multi-inputs [options] [targets]

Lists what goes into each target, each after what it is made from, as lines of
<target> <delimiter> <input>.

options:
  -h, --help              print this
  -d, --delimiter=DELIM   between target and input [default: a tab]
  -0, --print0            end each with a NUL
"""


def run(flags: Flags) -> int:
    """The exit status of a tool.

    Raises:
        Stop: its words are wrong, or ask what it takes.
        GraphError: the manifest is wrong, or a word names nothing in it.
    """
    return _TOOLS[flags.tool](flags)


def _browse(flags: Flags) -> int:
    raise Stop(1, err="ninja: fatal: browse is not offered: use -t graph | dot -Tsvg, or vcache graph\n")


# --- the manifest --------------------------------------------------------------------------------


def _graph(flags: Flags) -> NinjaGraph:
    from vcache.dag.ninja.load import load

    graph = load(flags.file, base=os.getcwd(), is_phonycycle_error=flags.is_phonycycle_error)
    for text in graph.warnings:
        _warn(text)
    return graph


def _targets(flags: Flags) -> int:
    from vcache.dag.ninja import tools

    graph, words = _graph(flags), flags.words
    mode = words[0] if words else "depth"
    if mode == "rule":
        return _tell(tools.targets_of_rule(graph, words[1]) if words[1:] else tools.sources(graph))
    if mode == "all":
        return _tell(tools.all_targets(graph))
    if mode == "depth":
        return _tell(tools.targets_by_depth(graph, _number(words[1]) if words[1:] else 1))
    meant = nearest(mode, ("rule", "depth", "all"))
    guess = f", did you mean '{meant}'?" if meant else ""
    raise Stop(1, err=f"ninja: error: unknown target tool mode '{mode}'{guess}\n")


def _rules(flags: Flags) -> int:
    from vcache.dag.ninja import tools

    given, _ = _read(flags, "hd", _RULES)
    return _tell(tools.rules(_graph(flags), with_descriptions="d" in given))


def _query(flags: Flags) -> int:
    from vcache.dag.ninja import tools

    if not flags.words:
        raise Stop(1, err="ninja: error: expected a target to query\n")
    return _tell(tools.query(_graph(flags), flags.words, _warn))


def _commands(flags: Flags) -> int:
    from vcache.dag.ninja import tools

    given, words = _read(flags, "hs", _COMMANDS)
    return _tell(tools.commands(_graph(flags), words, is_single="s" in given))


def _inputs(flags: Flags) -> int:
    from vcache.dag.ninja import tools

    given, words = _read(
        flags, "0Ehd", _INPUTS,
        {"help": "h", "no-shell-escape": "E", "print0": "0", "dependency-order": "d"},
    )  # fmt: skip
    graph = _graph(flags)
    found = tools.inputs_of(graph, tools.paths_of(graph, words))
    if "E" not in given:
        found = tools.escaped(found)
    return _tell(found if "d" in given else sorted(found), end="\0" if "0" in given else "\n")


def _multi_inputs(flags: Flags) -> int:
    from vcache.dag.ninja import tools

    given, words = _read(
        flags, "d:h0", _MULTI_INPUTS, {"delimiter=": "d", "help": "h", "print0": "0"}
    )  # fmt: skip
    graph = _graph(flags)
    lines = (
        f"{path}{given.get('d', chr(9))}{found}"
        for path in tools.paths_of(graph, words)
        for found in tools.inputs_of(graph, [path])
    )
    return _tell(lines, end="\0" if "0" in given else "\n")


def _dot(flags: Flags) -> int:
    from vcache.dag.ninja import tools

    graph = _graph(flags)
    return _tell(tools.dot(graph, tools.paths_of(graph, flags.words), _warn))


def _compdb(flags: Flags) -> int:
    given, words = _read(flags, "hx", _COMPDB)
    nodes = _graph(flags).nodes
    if words:
        nodes = [node for node in nodes for rule in words if node.rule == rule]
    return _database(nodes, given)


def _compdb_targets(flags: Flags) -> int:
    from vcache.dag.ninja import tools

    given, words = _read(flags, "hx", _COMPDB_TARGETS)
    if not words:
        message = "ninja: error: compdb-targets expects the name of at least one target\n"
        raise Stop(1, out=_COMPDB_TARGETS, err=message)
    graph = _graph(flags)
    return _database(tools.chain(graph, tools.paths_of(graph, words)), given)


def _database(nodes: Iterable[Node], given: dict[str, str]) -> int:
    from vcache.dag.compdb import compdb

    return _tell(compdb(os.getcwd(), nodes, expands_rsp="x" in given), end="")


# --- files ---------------------------------------------------------------------------------------


def _clean(flags: Flags) -> int:
    given, words = _read(flags, "hgr", _CLEAN)
    if "r" in given and not words:
        raise Stop(1, err="ninja: error: expected a rule to clean\n")
    graph = _graph(flags)

    def work(cleaner: Cleaner) -> None:
        if "r" in given:
            cleaner.rules(words)
        elif words:
            cleaner.targets(words)
        else:
            cleaner.everything(with_generated="g" in given)

    return _cleaned(flags, graph, work)


def _cleandead(flags: Flags) -> int:
    from vcache.dag.ninja import remembered

    graph = _graph(flags)
    before = list(remembered.outs_before(remembered.open_tree(graph)))
    return _cleaned(flags, graph, lambda cleaner: cleaner.dead(before))


def _cleaned(flags: Flags, graph: NinjaGraph, work: Callable[[Cleaner], None]) -> int:
    from vcache.dag.ninja.cleaning import Cleaner

    is_verbose = flags.verbosity == "verbose"
    cleaner = Cleaner(graph, say=_say, complain=_complain, is_dry_run=flags.is_dry_run, is_verbose=is_verbose)
    _say("Cleaning...", end="\n" if is_verbose or flags.is_dry_run else " ")
    work(cleaner)
    _say(f"{cleaner.n_removed} files.")
    return cleaner.status


# --- what is remembered --------------------------------------------------------------------------


def _deps(flags: Flags) -> int:
    from vcache.dag.ninja import remembered, tools

    graph = _graph(flags)
    found = remembered.found_by(graph, remembered.open_tree(graph))
    nodes = graph.nodes
    if flags.words:
        nodes = [node for path in tools.paths_of(graph, flags.words) if (node := graph.producer(path))]

    def mtime_ns(path: str) -> int | None:
        try:
            return os.stat(path).st_mtime_ns
        except OSError:
            return None

    return _tell(tools.discovered(nodes, found, mtime_ns, tells_none=bool(flags.words)))


def _missingdeps(flags: Flags) -> int:
    from vcache.dag.ninja import remembered, tools

    graph = _graph(flags)
    found = remembered.found_by(graph, remembered.open_tree(graph))
    lines = list(tools.missing_deps(graph, tools.paths_of(graph, flags.words), found))
    _tell(lines)
    return _MISSING_DEPS if any(line.startswith("Error:") for line in lines) else 0


def _restat(flags: Flags) -> int:
    _read(flags, "h", _RESTAT)
    # A file counts by its content here: a time that changed alone was never a reason to run anything.
    return 0


def _recompact(flags: Flags) -> int:
    _graph(flags)  # a wrong manifest is told, as ninja does; what is remembered is written anew in each run
    return 0


# --- words and lines -----------------------------------------------------------------------------


def _read(
    flags: Flags, letters: str, text: str, names: dict[str, str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """A tool's own options, and its words."""
    options = Options(flags.words, letters, names)
    try:
        given = dict(options)
    except BadOption as error:
        raise Stop(1, out=text, err=f"{flags.tool}: {error}\n") from None
    if "h" in given:
        raise Stop(1, out=text)
    return given, options.operands


def _number(text: str) -> int:
    """What C's `atoi` makes of a word."""
    digits = text.strip()
    try:
        return int(digits)
    except ValueError:
        return 0


def _tell(lines: Iterable[str], *, end: str = "\n") -> int:
    write = sys.stdout.buffer.write
    for line in lines:
        write(os.fsencode(line + end))
    sys.stdout.buffer.flush()
    return 0


def _say(line: str, end: str = "\n") -> None:
    _tell([line], end=end)


def _complain(text: str) -> None:
    print(f"ninja: error: {text}", file=sys.stderr, flush=True)


def _warn(text: str) -> None:
    print(f"ninja: warning: {text}", file=sys.stderr, flush=True)


_TOOLS: Final[dict[str, Callable[[Flags], int]]] = {
    "browse": _browse,
    "clean": _clean,
    "cleandead": _cleandead,
    "commands": _commands,
    "compdb": _compdb,
    "compdb-targets": _compdb_targets,
    "deps": _deps,
    "graph": _dot,
    "inputs": _inputs,
    "missingdeps": _missingdeps,
    "multi-inputs": _multi_inputs,
    "query": _query,
    "recompact": _recompact,
    "restat": _restat,
    "rules": _rules,
    "targets": _targets,
}
