"""`vcache jobs stats`: what a queue holds, what came of jobs, and who works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vcache.cli.jobs.showing import shown
from vcache.cli.jobs.where import opened, queue_option
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import ago, pairs, print_json, table
from vcache.jobs.facts import limits_facts, priority_word, session_facts, stats_facts
from vcache.jobs.models import Limits
from vcache.jobs.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vcache.jobs.base import QueueStats, Session

__all__ = ["kind_rows", "state_rows", "stats"]

_KEPT = {State.COMPLETED: "completed (kept)"}  # the others are forgotten: totals count them
_KINDS = (("kind", "<"), *((name, ">") for name in (
    "waiting", "submitted", "completed", "failed", "retried", "dead", "cancelled", "limit")))  # fmt: skip


@click.command(short_help="What a queue holds, and who works.")
@queue_option
@shared_options(json=True)
@click.pass_obj
def stats(setup: Setup, *, address: str | None) -> int:
    """Say how many jobs are in which state, what came of each kind so far, and which workers there are.

    --json prints an object: `queue`, `namespace`, `is_durable`, `states`, `waiting` (by kind and priority), `delayed`,
    `oldest_ns`, `totals` (by kind), `limits`, `sessions` (each `worker`, `kinds`, `n_held`).
    """
    with opened(setup, address) as queue:
        found, limits, sessions, info = queue.stats(), queue.limits(), queue.sessions(), queue.info
        now_ns = queue.now_ns()
    if setup.is_json:
        print_json(
            {
                "queue": info.name,
                "namespace": info.namespace,
                "is_durable": info.is_durable,
                **stats_facts(found),
                "limits": {kind: limits_facts(each) for kind, each in limits.items()},
                "sessions": [session_facts(session) for session in sessions],
            }
        )
        return 0
    space = f" ({info.namespace})" if info.namespace else ""
    pairs([("queue", f"{info.name}{space}"), *state_rows(found, now_ns)])
    _print_kinds(found, limits)
    _print_sessions(sessions)
    return 0


def state_rows(found: QueueStats, now_ns: int) -> list[tuple[str, str]]:
    """Each state and how many jobs are in it."""
    rows = [
        (_KEPT.get(state, str(state)), f"{found.by_state.get(state, 0):,}")
        for state in State
        if state is not State.FAILED
    ]
    rows.append(("delayed", f"{found.delayed:,}"))
    if found.oldest_ns:
        rows.append(("longest wait", f"since {ago(found.oldest_ns, now_ns)}"))
    return rows


def kind_rows(found: QueueStats, limits: Mapping[str, Limits]) -> list[list[str]]:
    """What came of each kind, as cells."""
    rows = []
    for kind in sorted({*found.totals, *(kind for kind, _ in found.waiting)}):
        waiting = " ".join(
            f"{count:,} {priority_word(priority)}"
            for (each, priority), count in sorted(found.waiting.items())
            if each == kind and count
        )
        counts = [f"{count:,}" for count in found.totals[kind]] if kind in found.totals else [""] * 6
        rows.append([shown(kind), waiting, *counts, _limit(limits.get(kind, Limits()))])
    return rows


def _limit(limits: Limits) -> str:
    rate = f"{limits.rate:g}/s" if limits.rate else ""
    running = f"{limits.running} at once" if limits.running else ""
    return " ".join(filter(None, (rate, running)))


def _print_kinds(found: QueueStats, limits: Mapping[str, Limits]) -> None:
    rows = kind_rows(found, limits)
    if rows:
        click.echo()
        table(_KINDS, rows)


def _print_sessions(sessions: Sequence[Session]) -> None:
    if not sessions:
        click.echo("\nno worker is there: start one with `vcache worker --module MODULE`")
        return
    click.echo()
    columns = (("worker", "<"), ("holds", ">"), ("kinds", "<"))
    rows = [[shown(each.worker), str(each.n_held), shown(" ".join(each.kinds) or "all")] for each in sessions]
    table(columns, rows)
