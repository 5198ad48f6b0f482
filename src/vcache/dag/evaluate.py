"""What a node's action is known by: its base manifest (docs/design/build.md, "The action key").

It looks at inputs through `Files`, and knows nothing of caches, nor of what runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from vcache.entry import Dep
from vcache.errors import FingerprintError
from vcache.fingerprint.compilers import HEEDED, compiler_tools
from vcache.fingerprint.inputs import Env, Tool
from vcache.fingerprint.manifest import Manifest, Shared
from vcache.portable import (
    RECIPE,
    argv_dep,
    cwd_dep,
    depfile_dep,
    names_root,
    out_dep,
    portable_text,
    rsp_dep,
    set_dep,
    shell_words,
    words_identity,
)

if TYPE_CHECKING:
    from vcache.dag.files import Files
    from vcache.dag.node import Command, Node
    from vcache.fingerprint.digests import Backing
    from vcache.fingerprint.observe import Observer

__all__ = ["Evaluator", "outs_of", "program_of", "words_of"]


# What only starts another program, or says where and how.
_STARTERS: Final = frozenset(("env", "nice", "time", "ccache", "sccache", "distcc", "exec"))
_TAKERS: Final = frozenset(("cd", "vcache"))  # a directory, and `cc`
_TRACED: Final = Dep("trace", "trace", b"1", note="what it opens counts")


def words_of(command: Command) -> tuple[str, ...]:
    """The words that a command starts as."""
    return command.argv or shell_words(command.shell)


def program_of(command: Command) -> str:
    """The name of the program that a command is about: not of a wrapper, nor of a shell's `cd` before it."""
    words = iter(command.argv or command.shell.split())
    for word in words:
        name = word.rpartition("/")[2]
        if name in _TAKERS:
            next(words, "")
        elif word[:1] != "-" and word not in ("&&", ";") and "=" not in word and name not in _STARTERS:
            return name
    return ""


def outs_of(node: Node, command: Command) -> tuple[str, ...]:
    """What is kept of a run: its outputs, and a depfile that stays."""
    is_staying = command.depfile and not command.deps and command.depfile not in node.outs
    return (*node.outs, command.depfile) if is_staying else node.outs


class Evaluator:
    """Makes the base manifests of one run.

    Args:
        environ_names: further variables of the caller that count for every command.
        backing: where what compilers say of their programs is remembered across processes.
    """

    def __init__(
        self,
        files: Files,
        observer: Observer,
        *,
        root: str,
        environ_names: Sequence[str] = (),
        backing: Backing | None = None,
    ) -> None:
        self._files = files
        self._observer = observer
        self._root = root
        self._environ_names = tuple(environ_names)
        self._backing = backing
        self._cwd = files.name("") or "."
        self._tools: dict[str, tuple[Dep, ...]] = {}
        self._env: dict[str, Dep] = {}
        self._shared: dict[object, Shared] = {}

    def base(
        self, node: Node, command: Command, *, ins: Iterable[str], more: Iterable[Dep] = ()
    ) -> Manifest | str:
        """Everything known before it runs; or the path of an input that is not there.

        Args:
            ins: the paths that count, phony ones resolved.
            more: dependencies that are no files.

        Raises:
            FingerprintError: a tool that does not exist, or an input that cannot be read.
        """
        deps: list[Dep] = [*self._own(command)]
        for path in ins:
            dep = self._files.input(path)
            if dep is None:
                return path
            deps.append(dep)
        name = self._files.name
        deps += (out_dep(name(path).rstrip("/")) for path in outs_of(node, command))
        if command.depfile:
            deps.append(depfile_dep(name(command.depfile)))
        deps += more
        return Manifest(deps, shared=self._common(command))

    def names_root(self, command: Command) -> bool:
        """Whether a command's own words name the project's place."""
        return names_root((*words_of(command), command.rsp_content, *command.env.values()), self._root)

    def _own(self, command: Command) -> Iterable[Dep]:
        """What hardly any two commands have in common."""
        root = self._root
        if command.shell:
            line = portable_text(command.shell, root)
            # The line alone is shown: word by word, as its author wrote it.
            yield Dep("argv", "argv", words_identity(shell_words(line)), note=line)
        else:
            yield argv_dep(command.argv, root)
        if command.rspfile:
            yield rsp_dep(command.rsp_content, root)

    def _common(self, command: Command) -> Shared:
        """What the commands of one rule share: looked at for the first of them."""
        programs = *self._programs(command), *command.tools
        shared = programs, command.cwd, tuple(command.env.items()), command.heeds, command.is_traced
        known = self._shared.get(shared)
        if known is None:
            known = Shared((RECIPE, *self._looks(command, programs)))
            if not any("/" in tool and self._files.is_below_root(_from(command, tool)) for tool in programs):
                self._shared[shared] = known
        return known

    def _looks(self, command: Command, programs: Iterable[str]) -> Iterable[Dep]:
        yield cwd_dep(self._files.name(command.cwd) if command.cwd else self._cwd)
        for tool in dict.fromkeys(programs):
            yield from self._tool(_from(command, tool))
        for variable, value in command.env.items():
            yield set_dep(variable, value, self._root)
        for variable in (*command.heeds, *self._environ_names):
            yield self._variable(variable)
        if command.is_traced:
            # What an untraced run did not see is no less true now: its results are not for this one.
            yield _TRACED

    def _programs(self, command: Command) -> tuple[str, ...]:
        """The program itself, as far as it is known: a shell line names its own in `tools`."""
        return command.argv[:1]

    def _tool(self, where: str) -> tuple[Dep, ...]:
        """A program, and for a compiler what it starts and which variables it heeds."""
        known = self._tools.get(where)
        if known is None:
            known = tuple(self._looked_at(where))
            if "/" not in where or not self._files.is_below_root(where):  # the build may make it anew
                self._tools[where] = known
        return known

    def _looked_at(self, tool: str) -> Iterable[Dep]:
        path = self._files.full(tool) if "/" in tool else tool
        try:
            (dep,) = self._observer.observe(Tool(path))
        except FingerprintError:
            # The command says it better, and a shell's builtin is no file.
            yield Dep("tool", self._files.name(tool) if "/" in tool else tool, b"")
            return
        yield dep
        helpers = compiler_tools(dep.note, backing=self._backing)
        if helpers:
            for helper in helpers:
                yield from self._observer.observe(Tool(helper))
            for variable in HEEDED:
                yield self._variable(variable)

    def _variable(self, name: str) -> Dep:
        known = self._env.get(name)
        if known is None:
            (known,) = self._observer.observe(Env(name))
            self._env[name] = known
        return known


def _from(command: Command, tool: str) -> str:
    """A tool as a path of the graph: a command names it from where it runs."""
    return os.path.join(command.cwd, tool) if "/" in tool else tool
