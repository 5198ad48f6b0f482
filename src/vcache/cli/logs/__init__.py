"""`vcache logs`: collect, ask, follow and compare logs. Each command is loaded when it is asked for."""

from __future__ import annotations

from typing import Final

import click

__all__ = ["logs"]

_HOMES: Final = {
    "ingest": "ingest",
    "collect": "collect",
    "query": "query",
    "tail": "tail",
    "show": "show_node",
    "templates": "templates",
    "diff": "compare",
    "stats": "stats",
    "export": "query",
    "seal": "upkeep",
    "gc": "upkeep",
    "purge": "upkeep",
    "verify": "upkeep",
}


class Logs(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _HOMES:
            return None
        from importlib import import_module

        found = getattr(import_module(f"vcache.cli.logs.{_HOMES[cmd_name]}"), cmd_name)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in _HOMES and not word.startswith("-") and not ctx.resilient_parsing:
            from vcache.kit.names import did_you_mean

            raise click.UsageError(f"logs has no command {word!r}{did_you_mean(word, _HOMES)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Logs, short_help="Collect, ask, follow and compare logs.")
def logs() -> None:
    """Collect logs, ask about them, follow them, and compare those of builds.

    A store of logs is a directory, or http(s)://HOST[:PORT] of a server: --logs, else VCACHE_LOGS or the
    setting `logs`, else `logs/default` in the cache's directory (`logs/NAMESPACE` with --namespace).
    """
