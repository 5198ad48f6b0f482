"""A group of commands, each of which is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping

import click

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A group that knows the names of its commands, and the modules that they stand in.

    Args:
        homes: by command, its module below `package`, where it has its own name with `_` for `-`, or that with a `_` behind it.
    """

    def __init__(self, *args: object, homes: Mapping[str, str], package: str, **given: object) -> None:
        super().__init__(*args, **given)  # type: ignore[arg-type]  # click's own
        self._homes, self._package = homes, package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._homes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._homes:
            return None
        from importlib import import_module

        module = import_module(f"{self._package}.{self._homes[cmd_name]}")
        name = cmd_name.replace("-", "_")
        found = getattr(module, name, None) or getattr(module, f"{name}_")
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in self._homes and not word.startswith("-") and not ctx.resilient_parsing:
            from vcache.kit.names import did_you_mean

            where = f"{self.name} has" if ctx.parent else "there is"
            raise click.UsageError(f"{where} no command {word!r}{did_you_mean(word, self._homes)}", ctx)
        return super().resolve_command(ctx, args)
