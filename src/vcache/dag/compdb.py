"""Compilation databases: which command compiles which file, as the JSON that clangd and others read.

https://clang.llvm.org/docs/JSONCompilationDatabase.html. It looks at no file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from vcache.dag.node import Command

if TYPE_CHECKING:
    from vcache.dag.node import Node

__all__ = ["command_of", "compdb"]

_OPTION_FILE: Final = "--option-file="
_FILE: Final = "-f "


def compdb(directory: str, nodes: Iterable[Node], *, expands_rsp: bool = False) -> Iterator[str]:
    """The lines of a database with an entry for each node that has an input.

    Args:
        directory: the absolute one that working directories of commands are relative to.
        expands_rsp: put what a response file holds in the place of its name.
    """
    yield "[\n"
    separator = ""
    for node in nodes:
        sources = node.ins or node.after
        if sources and node.outs:
            entry = {
                "directory": _directory(directory, node),
                "command": command_of(node, expands_rsp=expands_rsp),
                "file": sources[0],
                "output": node.outs[0],
            }
            lines = (f"    {json.dumps(key)}: {_quoted(value)}" for key, value in entry.items())
            yield separator + "  {\n" + ",\n".join(lines) + "\n  }"
            separator = ",\n"
    yield "\n]\n" if separator else "]\n"


def _directory(base: str, node: Node) -> str:
    cwd = node.work.cwd if isinstance(node.work, Command) else ""
    return os.path.join(base, cwd) if cwd else base


def command_of(node: Node, *, expands_rsp: bool = False) -> str:
    """The shell line of a node; "" for one that runs no command, or one not known before it runs."""
    work = node.work
    if not isinstance(work, Command):
        return ""
    if not work.argv:
        line = work.shell
    else:
        import shlex  # 2 ms, for a vcachefile's commands only

        line = shlex.join(work.argv)
    return _expanded(line, work) if expands_rsp and work.rspfile else line


def _expanded(line: str, command: Command) -> str:
    """A line with its response file in place: after "@", "-f " or "--option-file=", as in ninja."""
    at = line.find(command.rspfile)
    if at <= 0:
        return line
    for mark in ("@", _FILE, _OPTION_FILE):
        if line.endswith(mark, 0, at):
            content = command.rsp_content.replace("\n", " ")
            return line[: at - len(mark)] + content + line[at + len(command.rspfile) :]
    return line


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
