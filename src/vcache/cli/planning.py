"""Commands that look at a build without running it: `graph`, `why-not`, `clean`, `compdb`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import click

from vcache.cli.place import Place, find_place
from vcache.cli.setup import Setup, shared_options
from vcache.errors import UsageError

if TYPE_CHECKING:
    from vcache.dag.plan import Plan, Planned
    from vcache.recipes import Why

__all__ = ["clean", "compdb", "graph", "place_options", "planned", "why_not"]

F = TypeVar("F", bound=Callable[..., object])

_FORMS: Final = ("dot", "json", "svg", "html")


def place_options(function: F) -> F:
    """The options that say which build is meant."""
    for option in (
        click.option("--define", "-D", "defines", metavar="NAME=VALUE", multiple=True,
                     help="Set an option of the vcachefile."),
        click.option("--file", "-f", metavar="FILE", help="The build file."),
        click.option("--directory", "-C", metavar="DIR", help="Change to DIR first."),
    ):  # fmt: skip
        function = option(function)
    return function


@contextmanager
def planned(setup: Setup, place: Place, targets: tuple[str, ...], defines: tuple[str, ...]) -> Iterator[Plan]:
    """What a build would do."""
    from vcache.cli.build import defined
    from vcache.dag.session import Build, Options

    os.chdir(place.base)
    with setup.open(root=place.root, heeds_disable=True) as cache:
        work = Build(cache, base=place.base, options=Options(is_dry_run=True, keep_going=0))
        if place.is_ninja:
            yield work.plan_ninja(place.file, targets)
        else:
            yield work.plan_vcachefile(place.file, targets, defines=defined(defines))


@click.command(short_help="Draw what a build is made of.")
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--output", "-o", metavar="FILE", help="Where it goes; its ending says the form.")
@click.option("--format", "form", type=click.Choice(_FORMS), help="The form; dot on standard output.")
@click.option("--without-names", is_flag=True, help="Leave phony nodes out.")
@place_options
@shared_options(json=False)
@click.pass_obj
def graph(
    setup: Setup, targets: tuple[str, ...], *, output: str | None, form: str | None, without_names: bool,
    directory: str | None, file: str | None, defines: tuple[str, ...],
) -> int:  # fmt: skip
    """Draw the nodes that TARGETs need: as dot, JSON, SVG, or an HTML page that loads nothing.

    What took long is dark; the critical path, the chain that took longest, is bold; the frame says
    whether a node is up to date, in the cache, or has to run.
    """
    from vcache.dag import drawing

    form = form or _form_of(output)
    full = None if output is None else os.path.abspath(output)
    with planned(setup, find_place(directory, file), targets, defines) as plan:
        nodes = plan.below(plan.goals)
        if without_names:
            nodes = _without_names(nodes)
        if form in ("svg", "html") and len(nodes) > drawing.DRAWN_MOST:
            raise UsageError(
                f"{len(nodes)} nodes are no picture (at most {drawing.DRAWN_MOST}): name a target, "
                "or take --format dot or json"
            )
        critical = plan.critical(plan.goals)
    if form == "html":
        text = drawing.as_html(
            nodes, critical, title=f"build of {' '.join(targets) or 'the default targets'}"
        )
    else:
        text = {"dot": drawing.as_dot, "json": drawing.as_json, "svg": drawing.as_svg}[form](nodes, critical)
    _put(setup, text, output, full, f"{len(nodes)} nodes")
    return 0


def _form_of(output: str | None) -> str:
    if output is None:
        return "dot"
    ending = os.path.splitext(output)[1].lstrip(".")
    if ending not in _FORMS:
        raise UsageError(f"-o {output}: its ending is none of {', '.join(_FORMS)}: say --format")
    return ending


def _without_names(nodes: list[Planned]) -> list[Planned]:
    """Nodes with work only; what a phony node needs is needed by who needs it."""
    from dataclasses import replace

    from vcache.dag.graph import reach

    by_name = {node.name: node for node in nodes}

    def real(needs: tuple[str, ...]) -> tuple[str, ...]:
        found: list[str] = []
        for need in needs:
            if need in by_name and by_name[need].standing == "a name":
                behind = reach(
                    [need], lambda name: by_name[name].needs if by_name[name].standing == "a name" else ()
                )
                found += sorted(name for name in behind if by_name[name].standing != "a name")
            else:
                found.append(need)
        return tuple(dict.fromkeys(found))

    return [replace(node, needs=real(node.needs)) for node in nodes if node.standing != "a name"]


@click.command("why-not", short_help="Why a target would not come from the cache.")
@click.argument("target", metavar="TARGET")
@place_options
@shared_options(json=True)
@click.pass_obj
def why_not(
    setup: Setup, target: str, *, directory: str | None, file: str | None, defines: tuple[str, ...]
) -> int:
    """Say for each node behind TARGET that would run now why it is not taken from the cache.

    The exit code is 0 when nothing would run, else 1.

    --json prints an array; each object has `name`, `standing`, `reason`, `compared_to` (the nearest earlier
    result's key, or null) and `changes`, as in `why`.
    """
    place = find_place(directory, file)
    with planned(setup, place, (target,), defines) as plan:
        due = [node for node in plan.below(plan.goals) if node.standing == "has to run"]
        answers = [(node, plan.why(node.name)) for node in due]
    if setup.is_json:
        _print_json(answers)
    elif not due:
        click.echo(f"{target}: nothing would run")
    else:
        for node, why in answers:
            _print_answer(node, why)
    return 1 if due else 0


def _print_answer(node: Planned, why: Why | None) -> None:
    from vcache.kit.units import format_duration
    from vcache.recipes import in_words

    cost = f", which took {format_duration(node.cost_ns / 1e9)}" if node.cost_ns else ""
    click.echo(f"{node.name}: would run{cost}: {node.reason or 'what it reads would change'}")
    if not node.node.is_kept:
        click.echo("  its results are never kept: its outputs are not all declared")
    if why is None or why.is_hit:
        return
    if why.nearest is None:
        click.echo("  nothing like it was ever kept")
        return
    for change in why.changes:
        for line in in_words(change):
            click.echo(f"  {line}")
    if not why.changes:
        click.echo("  its result was removed from the cache")
    click.echo(f"  since {why.nearest}")


def _print_json(answers: list[tuple[Planned, Why | None]]) -> None:
    from vcache.cli.changes import change_json
    from vcache.cli.show import print_json

    print_json(
        [
            {
                "name": node.name,
                "standing": node.standing,
                "reason": node.reason,
                "compared_to": None if why is None else why.nearest,
                "changes": [] if why is None else [change_json(change) for change in why.changes],
            }
            for node, why in answers
        ]
    )


@click.command(short_help="Remove what a build made.")
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Also what the tree remembers of its runs.")
@click.option("--dry-run", "-n", is_flag=True, help="Only say what would be removed.")
@place_options
@shared_options(json=False, taken=("-n",))
@click.pass_obj
def clean(
    setup: Setup, targets: tuple[str, ...], *, is_all: bool, dry_run: bool, directory: str | None,
    file: str | None, defines: tuple[str, ...],
) -> int:  # fmt: skip
    """Remove the outputs of TARGETs and of all they need; the cache keeps them.

    What generates the build file itself is left alone. Only declared outputs are removed.
    """
    place = find_place(directory, file)
    count = 0
    with planned(setup, place, targets, defines) as plan:
        for node in plan.below(plan.goals):
            if node.node.work is None or node.node.is_generator:
                continue
            depfile = node.command.depfile if node.command else ""
            for path in (*node.outs, *((depfile,) if depfile else ())):
                count += _remove(os.path.join(place.base, path), path, is_dry=dry_run, setup=setup)
    if is_all and not dry_run:
        from vcache.dag.frozen import DIRECTORY

        shutil.rmtree(os.path.join(place.base, DIRECTORY), ignore_errors=True)
    setup.note(f"{'would remove' if dry_run else 'removed'} {count} files and directories")
    return 0


def _remove(full: str, path: str, *, is_dry: bool, setup: Setup) -> int:
    if not os.path.lexists(full.rstrip("/")):
        return 0
    if is_dry:
        click.echo(path)
        return 1
    if os.path.isdir(full) and not os.path.islink(full.rstrip("/")):
        shutil.rmtree(full)
    else:
        os.unlink(full)
    return 1


@click.command(short_help="Print the compilation database.")
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--output", "-o", metavar="FILE", help="Write it there, for clangd: compile_commands.json.")
@place_options
@shared_options(json=False)
@click.pass_obj
def compdb(
    setup: Setup, targets: tuple[str, ...], *, output: str | None, directory: str | None, file: str | None,
    defines: tuple[str, ...],
) -> int:  # fmt: skip
    """Print the commands behind TARGETs as a JSON compilation database, as clangd and others read it."""
    from dataclasses import replace

    from vcache.dag.compdb import compdb as database

    place = find_place(directory, file)
    full = None if output is None else os.path.abspath(output)
    with planned(setup, place, targets, defines) as plan:
        nodes = [
            replace(node.node, ins=(*node.node.ins, *node.sources), work=node.command)
            for node in plan.below(plan.goals)
            if node.command is not None
        ]
    text = "".join(database(place.base, nodes))
    _put(setup, text, output, full, f"{len(nodes)} commands")
    return 0


def _put(setup: Setup, text: str, output: str | None, full: str | None, what: str) -> None:
    """Print a text, or write it whole to a file."""
    if full is None:
        sys.stdout.write(text)
        return
    from vcache.kit.fs_atomic import write_atomic

    write_atomic(full, text.encode("utf-8", "surrogateescape"))
    setup.note(f"{what} in {output}")
