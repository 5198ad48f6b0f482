"""The group of all commands: loads the one that is asked for."""

from __future__ import annotations

import gc
from typing import Final, NoReturn

import click

from vcache.cli.ends import carried_out, leave
from vcache.cli.lazy import LazyGroup
from vcache.cli.setup import Setup, shared_options

__all__ = ["cli", "main"]

# Imported one by one: `vcache stats` must not pay for what `vcache run` needs.
_HOMES: Final = {
    "get": "entries",
    "put": "entries",
    "rm": "entries",
    "ls": "entries",
    "info": "entries",
    "stats": "house",
    "gc": "house",
    "verify": "house",
    "doctor": "doctor",
    "run": "run",
    "cc": "cc",
    "build": "build",
    "graph": "planning",
    "why": "why",
    "why-not": "planning",
    "clean": "planning",
    "compdb": "planning",
    "log": "log",
    "logs": "logs",
    "jobs": "jobs",
    "worker": "jobs.worker",
    "schedule": "jobs.schedule",
    "history": "runs",
    "diff": "runs",
    "gocacheprog": "gocacheprog",
    "token": "token",
    "trust": "trust",
    "audit": "audit",
    "push": "transfer",
    "pull": "transfer",
    "export": "transfer",
    "import": "transfer",
    "serve": "serve",
    "env": "env",
    "completion": "completion",
}


class App(LazyGroup):
    """All commands. What goes wrong in one is said here, and becomes its exit code."""

    def invoke(self, ctx: click.Context) -> object:
        status = carried_out(lambda: super(App, self).invoke(ctx))
        if status:
            ctx.exit(status)
        return None


@click.group(
    cls=App, homes=_HOMES, package="vcache.cli", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="vcache", prog_name="vcache", message="%(prog)s %(version)s")
@shared_options(json=True)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Keep what builds and programs produce, and find it again by what went into it.

    The directory is --dir, else VCACHE_DIR, else `dir` of vcache.toml, else the user's cache
    directory. VCACHE_DISABLE=1 switches caching off.
    """
    ctx.ensure_object(Setup)


def main() -> NoReturn:
    """Run the command and exit."""
    # Everything is short-lived here: collecting cycles costs 4 ms of imports, taking the
    # interpreter down in good order another 6 (measured on `vcache stats`).
    gc.disable()
    try:
        cli.main(prog_name="vcache")
    except SystemExit as end:
        leave(end.code)
    raise AssertionError("click's standalone mode exits")
