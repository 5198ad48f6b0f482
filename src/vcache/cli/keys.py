"""The argument KEY: how a name is written, and which ones there are to complete it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

import click

from vcache.cli.setup import Setup

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["key_argument"]

F = TypeVar("F", bound=Callable[..., object])

_MOST: Final = 200

if TYPE_CHECKING:
    _KeyType = click.ParamType[str | bytes]
else:
    _KeyType = click.ParamType  # generic since click 8.2 only


class _Key(_KeyType):
    """A name as text, or the digits of one that is bytes: `hex:00ff`. `str:` says that it is text."""

    name = "key"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str | bytes:
        text = str(value)
        if text.startswith("str:"):
            return text[4:]
        if not text.startswith("hex:"):
            return text
        try:
            return bytes.fromhex(text[4:])
        except ValueError:
            self.fail(f"{text!r}: hexadecimal digits follow 'hex:'", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return _names(ctx, incomplete)


def key_argument(name: str = "key", *, many: bool = False, required: bool = True) -> Callable[[F], F]:
    """A positional KEY."""
    return click.argument(
        name, metavar="KEY..." if many else "KEY", type=_Key(), nargs=-1 if many else 1, required=required
    )


def _names(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """The names that begin so. An unusable cache completes nothing, and says nothing."""
    from click.shell_completion import CompletionItem

    from vcache.entry import make_key
    from vcache.errors import VcacheError

    try:
        with ctx.ensure_object(Setup).open() as cache:
            prefix = make_key(incomplete, namespace=cache.namespace)
            names = [str(entry.name) for entry in islice(cache.entries_under(prefix), _MOST)]
    except (VcacheError, OSError):
        return []
    return [CompletionItem(name) for name in sorted(names)]
