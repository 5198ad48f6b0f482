"""Commands as bodies write them: `cmd` and `sh`, and how they become the one command of a node.

It knows words, files and handles; it runs nothing.
"""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from vcache.dag.front.scene import Frame, Paper, current_frame, current_graph
from vcache.dag.front.targets import Inputs, Needed, Promise, Target
from vcache.dag.front.trouble import caller
from vcache.dag.node import Command
from vcache.errors import GraphError
from vcache.fingerprint.inputs import Dir, Env, File, Glob, Tool
from vcache.kit.data import dataclass, replace

__all__ = ["Cmd", "Program", "Word", "cmd", "environment", "frame_or_refuse", "joined", "sh"]

Word = object
"""A word of a command: text, numbers, paths, files, tools, handles, and sequences of these."""


class Program(Tool):
    """A program whose content is an input of what runs it. As text it is its name."""

    __slots__ = ("place",)

    place: str

    def __init__(self, name: str | os.PathLike[str], place: str = "") -> None:
        Tool.__init__(self, name)
        object.__setattr__(self, "place", place)

    def __str__(self) -> str:
        return self.name

    def __fspath__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Cmd:
    """A program to run, as `cmd` and `sh` give it.

    Attributes:
        words: the program and its arguments, flattened; after `line`, what it calls "$1", "$2", …
        line: for the shell; "" for none.
        cwd: where it runs; None for where the step says.
        env: what is set for it.
        stdin, stdout: files that it reads and writes as its standard streams; None for none.
        place: where it was written.
    """

    words: tuple[object, ...]
    line: str = ""
    cwd: str | None = None
    env: Mapping[str, str] | None = None
    stdin: object = None
    stdout: object = None
    place: str = ""


def cmd(
    *words: Word,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, object] | None = None,
    stdin: object = None,
    stdout: object = None,
) -> Cmd:
    """A program to run with its arguments. Files and handles among them are inputs.

    Args:
        words: text, numbers, paths, files, tools, what calls of steps gave, and sequences of these.
        cwd: where it runs, below the build file's directory; files among the words are named from there.
        env: variables that are set for it.
        stdin: a file that it reads as its standard input.
        stdout: a file that its standard output goes to, such as `build.out(0)`.

    Raises:
        GraphError: no words, or one that is none.
    """
    place = _here()
    flat = tuple(_flat(words, place))
    if not flat:
        raise GraphError(f"{place}: cmd() without words: give a program and its arguments")
    return Cmd(flat, "", _directory(cwd), environment(env, place), stdin, stdout, place)


def sh(
    line: str,
    *words: Word,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, object] | None = None,
) -> Cmd:
    """A line for `/bin/sh`, in which the words are "$1", "$2", … Files and handles among them are inputs.

    Raises:
        GraphError: an empty line, or a word that is none.
    """
    place = _here()
    if not isinstance(line, str) or not line.strip():
        raise GraphError(f"{place}: sh({line!r:.80}): give a line for the shell")
    return Cmd(tuple(_flat(words, place)), line, _directory(cwd), environment(env, place), place=place)


def environment(env: Mapping[str, object] | None, place: str) -> dict[str, str] | None:
    """Variables to set, as text.

    Raises:
        GraphError: a name or a value that is none.
    """
    if env is None:
        return None
    found = {}
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise GraphError(f"{place}: env={{{name!r}: …}}: not the name of a variable")
        if value is None or isinstance(value, bool | Promise) or not isinstance(value, _TEXTUAL):
            raise GraphError(f"{place}: env={{{name!r}: {value!r:.80}}}: give text, a number or a path")
        found[name] = _text(value)
    return found


_TEXTUAL: Final = (str, int, float, os.PathLike)
_PLAIN: Final = (str, File, Dir, Tool, int, float)


def _text(value: object) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _directory(cwd: str | os.PathLike[str] | None) -> str | None:
    return None if cwd is None else os.fspath(cwd)


def _here() -> str:
    graph = current_graph()
    return caller("" if graph is None else graph.base)


def _flat(words: Iterable[object], place: str) -> Iterable[object]:
    """Words out of all sequences around them."""
    for word in words:
        if type(word) is str or (isinstance(word, _PLAIN) and word is not True and word is not False):
            yield word
        elif isinstance(word, Needed):
            raise GraphError(f"{place}: need(…) without await: write `await need(…)` in an `async def`")
        elif isinstance(word, Promise):
            raise GraphError(
                f"{place}: the value of {word.node.name} is no word yet: await it, or take it as an argument"
            )
        elif isinstance(word, Glob):
            graph = current_graph()
            yield from () if graph is None else map(File, graph.matches(word))
        elif isinstance(word, os.PathLike):
            yield word
        elif isinstance(word, Iterable) and not isinstance(word, bytes | Mapping | Env):
            yield from _flat(word, place)
        else:
            remedy = ": call it" if callable(word) else ": give text, numbers, paths, files or targets"
            raise GraphError(f"{place}: {word!r:.80} is no word of a command{remedy}")


class _Writer:
    """Turns the words of one command into text, and notes what of it is an input."""

    def __init__(self, frame: Frame, graph: Paper, cwd: str) -> None:
        self._outs = {path.rstrip("/") for path in (*frame.node.outs, frame.depfile)}
        self._graph = graph
        self._cwd = cwd
        self.inputs = Inputs()

    def word(self, word: object) -> str:
        if type(word) is str:
            return word
        if isinstance(word, Tool):
            self.inputs.tools[word.name] = None
            return word.name
        if isinstance(word, Target):
            if not word.node.outs:
                raise GraphError(
                    f"{word.node.name!r} makes no file (outs= is empty): it is no word of a command"
                )
            self.inputs.take_node(word.node)
            return self._from_cwd(word.path)
        if isinstance(word, File | Dir):
            path = self._graph.path(word)
            if path.rstrip("/") not in self._outs:
                self.inputs.paths[path] = None
            return self._from_cwd(path)
        if isinstance(word, os.PathLike):
            text = os.fspath(word)
            return self._from_cwd(text) if self._cwd and text in self._outs else text
        return str(word)

    def words(self, words: Sequence[object]) -> tuple[str, ...]:
        found = [self.word(word) for word in words]
        # A program that is a file of the project is no name for PATH.
        if (
            isinstance(words[0], File | os.PathLike)
            and not isinstance(words[0], Tool)
            and "/" not in found[0]
        ):
            found[0] = f"./{found[0]}"
        return tuple(found)

    def _from_cwd(self, path: str) -> str:
        plain = path.rstrip("/") or path
        if not self._cwd or plain[0] == "/":
            return plain
        return posixpath.relpath(plain, self._cwd)


def joined(result: object, frame: Frame, graph: Paper, options: Command) -> tuple[Command | None, Inputs]:
    """The command that a body's result stands for, and what its words name.

    Args:
        options: what the step says of every command of its.

    Raises:
        GraphError: a result that is none.
    """
    inputs = Inputs()
    if result is None:
        return None, inputs
    pieces = [result] if isinstance(result, Cmd) else result
    if not isinstance(pieces, list | tuple) or not all(isinstance(piece, Cmd) for piece in pieces):
        raise GraphError(
            f"{frame.node.place}: {frame.node.rule} returned {result!r:.80}: return cmd(…), a list of them, or None"
        )
    if not pieces:
        return None, inputs
    command = _single(pieces[0], frame, graph, options, inputs) if len(pieces) == 1 else None
    if command is None:
        lines = [_line(piece, frame, graph, options, inputs) for piece in pieces]
        command = replace(options, shell=" && ".join(lines))
    # The first word counts by itself.
    tools = tuple(
        dict.fromkeys(tool for tool in (*options.tools, *inputs.tools) if (tool,) != command.argv[:1])
    )
    heeds = tuple(dict.fromkeys((*options.heeds, *inputs.heeds)))
    if (tools, heeds) != (options.tools, options.heeds):
        command = replace(command, tools=tools, heeds=heeds)
    return command, inputs


def _single(piece: Cmd, frame: Frame, graph: Paper, options: Command, inputs: Inputs) -> Command | None:
    """One command as it is; None where it needs a shell around it."""
    if piece.stdin is not None or piece.stdout is not None:
        return None
    cwd, env = _place(piece, graph, options), {**options.env, **(piece.env or {})}
    argv = _argv(piece, frame, graph, cwd, inputs)
    if piece.line and not piece.words:
        return replace(options, shell=piece.line, cwd=cwd, env=env)
    return replace(options, argv=argv, cwd=cwd, env=env)


def _argv(piece: Cmd, frame: Frame, graph: Paper, cwd: str, inputs: Inputs) -> tuple[str, ...]:
    writer = _Writer(frame, graph, cwd)
    writer.inputs = inputs
    if piece.line:
        # The tools that the build file knows by name count where a line mentions them.
        known = graph.program_names
        inputs.tools.update(dict.fromkeys(word for word in _bare_words(piece.line) if word in known))
        return ("/bin/sh", "-c", piece.line, "sh", *map(writer.word, piece.words))
    argv = writer.words(piece.words)
    if not argv[0]:
        raise GraphError(f"{piece.place}: the program's name is empty")
    for word in piece.words:
        if isinstance(word, Program):
            _require(word, piece, graph)
    return argv


def _line(piece: Cmd, frame: Frame, graph: Paper, options: Command, inputs: Inputs) -> str:
    """One of several commands, as a part of a shell line that starts in the step's directory."""
    cwd = _place(piece, graph, options)
    argv = _argv(piece, frame, graph, cwd, inputs)
    is_line = bool(piece.line) and not piece.words
    text = f"(\n{piece.line}\n)" if is_line else shlex.join(argv)
    if not piece.line:
        inputs.tools[argv[0]] = None
    if piece.env:
        text = f"env {shlex.join(f'{name}={value}' for name, value in piece.env.items())} {text}"
        if is_line:
            text = f"({_exports(piece.env)}\n{piece.line}\n)"
    for sign, end in (("<", piece.stdin), (">", piece.stdout)):
        if end is not None:
            writer = _Writer(frame, graph, cwd)
            writer.inputs = inputs
            text = f"{text} {sign} {shlex.quote(writer.word(_stream(end, piece)))}"
    if cwd != options.cwd:
        text = f"(cd {shlex.quote(os.path.relpath(cwd or '.', options.cwd or '.'))} && {text})"
    return text


def _exports(env: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}; " for name, value in env.items())


def _stream(end: object, piece: Cmd) -> object:
    if isinstance(end, str):
        return end
    if isinstance(end, os.PathLike):
        return end
    raise GraphError(f"{piece.place}: {end!r:.80} is no file for a standard stream")


def _place(piece: Cmd, graph: Paper, options: Command) -> str:
    if piece.cwd is None:
        return options.cwd
    path = graph.path(piece.cwd or ".").rstrip("/")
    return "" if path == "." else path


def _bare_words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # the shell will say what is wrong with it
        return line.split()


def _require(program: Program, piece: Cmd, graph: Paper) -> None:
    """Refuse a declared tool that is not there: its absence is no input of anything."""
    name = program.name
    if name in graph.found_programs:
        return
    from vcache.fingerprint.tools import find_tool

    path = os.path.join(graph.base, name) if "/" in name else name
    if find_tool(path, os.environ) is None:
        where = f"at {path}" if "/" in name else f"in PATH={os.environ.get('PATH', '')}"
        raise GraphError(
            f"{program.place or piece.place}: the tool {name!r} is not there {where}: install it"
        )
    graph.found_programs.add(name)


def frame_or_refuse(what: str) -> Frame:
    """The frame of the body that runs.

    Raises:
        GraphError: none does.
    """
    frame = current_frame()
    if frame is None:
        raise GraphError(f"{_here()}: {what} works in the body of a step")
    return frame
