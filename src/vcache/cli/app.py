"""The group of all commands: loads the one that is asked for."""

from __future__ import annotations

import gc
from typing import Final, NoReturn

import click

from vcache.cli.ends import carried_out, leave
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


class App(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _HOMES:
            return None
        from importlib import import_module

        name = "import_" if cmd_name == "import" else cmd_name.replace("-", "_")
        found = getattr(import_module(f"vcache.cli.{_HOMES[cmd_name]}"), name)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in _HOMES and not word.startswith("-") and not ctx.resilient_parsing:
            from vcache.kit.names import did_you_mean

            raise click.UsageError(f"there is no command {word!r}{did_you_mean(word, _HOMES)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        status = carried_out(lambda: super(App, self).invoke(ctx))
        if status:
            ctx.exit(status)
        return None


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"]})
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
