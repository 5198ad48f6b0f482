"""The reference page of the command, made from click's own metadata.

python docs/gen_cli.py             # writes docs/reference/cli.md
python docs/gen_cli.py --check     # says whether it is out of date
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from vcache.cli import cli
from vcache.cli.setup import Setup

PAGE: Final = Path(__file__).parent / "reference" / "cli.md"
_HEAD: Final = """\
<!-- Made by docs/gen_cli.py from `vcache.cli`: edit that. -->

# The command

How to use it: [cache commands](../how-to/command.md), [cache a compiler](../how-to/compiler-wrapper.md), [write a
vcachefile](../how-to/write-a-vcachefile.md), [build what CMake wrote](../how-to/build-a-ninja-project.md), [run
jobs](../how-to/run-jobs.md). What decides where options are not given: [settings](settings.md). `vcache-ninja` takes [ninja's own words](../how-to/use-instead-of-ninja.md).

A name is text, or `hex:` with the digits of a name that is bytes; `str:` before a name says that it is text.

| exit code | meaning |
|---|---|
| 0 | done, or a hit |
| 1 | absent, a problem was found, or a step of a build failed |
| 2 | a usage error: the value, the place and the remedy are in one line on standard error |
| 130, 141 | Ctrl-C; the reader of the output went away |
| any | of `run`: the command's own, 128 + n for signal n, 127 and 126 when it is not found or not executable |
"""


def page() -> str:
    """The whole page."""
    root = click.Context(cli, info_name="vcache", obj=Setup(), **cli.context_settings)
    parts = [_HEAD, _section(root, cli)]
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        parts += _sections(click.Context(command, info_name=name, parent=root), command)
    return "\n".join(parts)


def _sections(context: click.Context, command: click.Command) -> Iterator[str]:
    """A command, and those that it is a group of."""
    yield _section(context, command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _sections(click.Context(below, info_name=name, parent=context), below)


def _section(context: click.Context, command: click.Command) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    # What click keeps as it is are examples.
    words = re.sub(r"\x08\n((?:.+\n?)+)", r"```text\n\1```\n", inspect.cleandoc(command.help or ""))
    options = [param for param in command.get_params(context) if isinstance(param, click.Option)]
    rows = [row for option in options if (row := option.get_help_record(context)) is not None]
    table = [
        "| option | meaning |",
        "|---|---|",
        *(f"| `{_cell(name)}` | {_cell(text)} |" for name, text in rows),
    ]
    return "\n".join([f"## {context.command_path}", "", f"```text\n{usage}\n```", "", words, "", *table, ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    text = page()
    is_current = PAGE.exists() and PAGE.read_text("utf-8") == text
    if "--check" in sys.argv[1:]:
        if not is_current:
            print(f"docs/reference/{PAGE.name}: out of date")
        return 0 if is_current else 1
    if not is_current:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, "utf-8")
        print(f"wrote docs/reference/{PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
