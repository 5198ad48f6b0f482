"""What the commands about earlier runs share: which directory, which run, which target is meant."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import click

from vcache.cli.ansi import safe_text
from vcache.dag import history as past
from vcache.dag import journal
from vcache.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from vcache.dag.history import Made

__all__ = [
    "SHORT_ID", "RunCommand", "base_of", "chosen", "complete_target", "directory_option",
    "lines_naming", "one_line", "only", "unknown_target",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., object])
SHORT_ID: Final = 8
"""How many of the last digits of a run's id tell it from others, for people."""

_MOST_COMPLETED: Final = 200


class RunCommand(click.Command):
    """Takes -2, the run before the last, for an argument; any other unknown option is refused."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.ignore_unknown_options = True
        for word in args:
            is_place = word[:1] == "-" and word[1:].isdecimal()
            names = (name for parameter in self.get_params(ctx) for name in parameter.opts)
            if word.startswith("-") and not is_place and word.partition("=")[0] not in {*names, "-", "--"}:
                ctx.ignore_unknown_options = False  # click has the words for it
        return super().parse_args(ctx, args)


def directory_option(function: F) -> F:
    """The option that says whose runs are asked for."""
    return click.option(
        "--directory", "-C", metavar="DIR",
        help="The directory of the build file; by default the nearest one above that was built in.",
    )(function)  # fmt: skip


def base_of(directory: str | None) -> str:
    """The directory whose runs are asked for.

    Raises:
        UsageError: the one that was named is not there.
    """
    here = os.path.realpath(directory or ".")
    if directory is not None:
        if not os.path.isdir(here):
            raise UsageError(f"-C {directory}: there is no such directory")
        return here
    at = here
    while not os.path.isdir(journal.runs_dir(at)):
        if at == (at := os.path.dirname(at)):
            return here
    return at


def complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The targets that the last run names and that begin so. An unreadable journal completes nothing."""
    from click.shell_completion import CompletionItem

    known = journal.runs(base_of(ctx.params.get("directory")))
    names: dict[str, None] = {}
    try:
        for _, path in known[-1:]:
            names = {line.node: None for line in journal.lines(path, naming=incomplete) if line.node}
    except OSError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)][:_MOST_COMPLETED]


def chosen(word: str, known: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The id and the journal of the run that a word means; raises as `vcache.dag.history.chosen`."""
    paths = dict(known)
    run_id = past.chosen(word, tuple(paths))
    return run_id, paths[run_id]


def lines_naming(path: str, target: str) -> Iterable[journal.Line]:
    """What a journal says of whatever a target may mean."""
    return journal.lines(path, naming=target.removeprefix("./"))


def only(target: str, found: Sequence[Made]) -> Sequence[Made]:
    """The one that is meant, or none.

    Raises:
        UsageError: several are.
    """
    names = list(dict.fromkeys(made.name for made in found))
    if len(names) > 1:
        shown = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise UsageError(f"{target!r} may be {shown}: give more of it")
    return found


def unknown_target(target: str, base: str) -> UsageError:
    """The error for a target that no run made, with the nearest names of the last runs."""
    from vcache.kit.names import nearest

    names: dict[str, None] = {}
    for run_id, path in reversed(journal.runs(base)):
        names.update(dict.fromkeys(past.described(run_id, journal.lines(path)).nodes))
        if len(names) > 2_000:  # comparing takes 10 µs a name
            break
    near = nearest(target, list(names)[:5_000])
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return UsageError(f"no run of {base} that is written down made {target!r}{hint}")


def one_line(text: str) -> str:
    """Text of a journal on one line: nothing that acts."""
    if text.isprintable():
        return text
    return safe_text(text.encode("utf-8", "surrogateescape"), keeps_colour=False).replace("\n", " ")
