"""The arguments KIND and ID, and what completes them. A queue that cannot be asked completes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

import click

from vcache.cli.jobs.where import opened
from vcache.cli.setup import Setup
from vcache.jobs.states import State

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from vcache.jobs.base import Queue

__all__ = ["complete_kind", "id_argument", "kind_option", "kinds_of"]

F = TypeVar("F", bound=Callable[..., object])
_MOST: Final = 50  # of each state


def id_argument(*states: State, many: bool = False, required: bool = True) -> Callable[[F], F]:
    """The argument ID, or IDs: completed by those of jobs in some states, by default of all."""

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _asked(ctx, incomplete, lambda queue: _ids(queue, states or tuple(State)))

    return click.argument(
        "ids" if many else "job_id", metavar="ID..." if many else "ID", nargs=-1 if many else 1,
        required=required, shell_complete=complete,
    )  # fmt: skip


def kind_option(meaning: str) -> Callable[[F], F]:
    """The option --kind."""
    return click.option(
        "--kind", "-k", metavar="KIND", default="", shell_complete=complete_kind, help=meaning
    )


def complete_kind(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The kinds that the queue has seen."""
    return _asked(ctx, incomplete, kinds_of)


def kinds_of(queue: Queue) -> list[str]:
    """Every kind that a queue knows of, sorted."""
    stats = queue.stats()
    asked = {kind for session in stats.sessions for kind in session.kinds}
    return sorted({*stats.totals, *(kind for kind, _ in stats.waiting), *queue.limits(), *asked})


def _ids(queue: Queue, states: Iterable[State]) -> list[str]:
    return [
        job.id for state in states if state is not State.FAILED for job in queue.list(state, limit=_MOST).jobs
    ]


def _asked(
    ctx: click.Context, incomplete: str, words_of: Callable[[Queue], list[str]]
) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from vcache.errors import VcacheError

    try:
        with opened(ctx.find_object(Setup) or Setup(), ctx.params.get("address")) as queue:
            words = words_of(queue)
    except (OSError, VcacheError):
        return []
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
