"""`vcache completion`: the script that teaches a shell to complete."""

from __future__ import annotations

import click

__all__ = ["completion"]


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
