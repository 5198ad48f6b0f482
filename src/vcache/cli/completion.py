"""`vcache completion`: the script that teaches a shell to complete, and what it asks for."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["complete_names", "completion"]

_MOST: Final = 200


@click.command(short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the script that completes commands, options and keys.

    For example, in ~/.bashrc: `eval "$(vcache completion bash)"`.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    script = found(ctx.find_root().command, {}, "vcache", "_VCACHE_COMPLETE")
    click.echo(script.source())
    return 0


def complete_names(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """The names that begin so. An unusable cache completes nothing, and says nothing."""
    from click.shell_completion import CompletionItem

    from vcache.cli.setup import Setup
    from vcache.entry import make_key
    from vcache.errors import VcacheError

    try:
        with ctx.ensure_object(Setup).open() as cache:
            prefix = make_key(incomplete, namespace=cache.namespace)
            names = [str(entry.name) for entry in islice(cache.entries_under(prefix), _MOST)]
    except (VcacheError, OSError):
        return []
    return [CompletionItem(name) for name in sorted(names)]
