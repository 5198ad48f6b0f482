"""`vcache jobs limit`: what workers together may do of a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vcache.cli.jobs.completing import complete_kind
from vcache.cli.jobs.showing import shown
from vcache.cli.jobs.where import opened, queue_option
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import print_json, table
from vcache.errors import UsageError
from vcache.jobs.facts import limits_facts
from vcache.jobs.models import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["limit"]


@click.command(short_help="Bound what runs of a kind.")
@click.argument("kind", required=False, shell_complete=complete_kind)
@click.option("--rate", metavar="N/TIME", help="So many starts: 10/s, 100/m, 5/h.")
@click.option("--burst", metavar="N", type=click.FloatRange(min=0), help="So many at once after a pause.")
@click.option("--running", metavar="N", type=click.IntRange(min=1), help="So many at the same time.")
@click.option("--none", "none_", is_flag=True, help="No bounds.")
@queue_option
@shared_options(json=True)
@click.pass_obj
def limit(
    setup: Setup, kind: str | None, *, rate: str | None, burst: float | None, running: int | None, none_: bool,
    address: str | None,
) -> int:  # fmt: skip
    """Set what all workers together may do of KIND, or show what is set.

    \b
    vcache jobs limit email.send --rate 10/s --running 4

    It holds from the next start of a job on. A worker that begins sets again what its handlers say. --json prints an object: by kind
    `rate` (per second), `burst` and `running`; 0 for any number.
    """  # noqa: D301 - click keeps such lines as they are
    is_change = none_ or any(each is not None for each in (rate, burst, running))
    if none_ and any(each is not None for each in (rate, burst, running)):
        raise UsageError("--none goes with no other bound")
    if is_change and kind is None:
        raise UsageError("of which KIND?")
    if burst is not None and rate is None:
        raise UsageError("--burst is of a --rate")
    with opened(setup, address) as queue:
        if is_change and kind is not None:
            queue.limit(kind, Limits(0.0 if rate is None else per_second(rate), burst or 0.0, running or 0))
        found = queue.limits()
    _show(setup, found if kind is None else {name: found[name] for name in found if name == kind})
    return 0


def per_second(text: str) -> float:
    """The rate that a text says: "10/s", "100 / 5m", "10" (per second).

    Raises:
        UsageError: it says none.
    """
    from vcache.kit.units import seconds

    count, slash, span = (part.strip() for part in text.partition("/"))
    try:
        number = float(count)
        span_s = seconds(f"1{span}" if span[:1].isalpha() else span) if slash else 1.0
        if 0 < number < float("inf") and span_s > 0:
            return number / span_s
    except (ValueError, UsageError):
        pass
    raise UsageError(f"--rate {text!r}: give a number per time, such as 10/s, 100/m or 1000/2h")


def _show(setup: Setup, found: Mapping[str, Limits]) -> None:
    if setup.is_json:
        print_json({kind: limits_facts(limits) for kind, limits in found.items()})
        return
    rows = [
        [shown(kind), f"{each.rate:g}/s" if each.rate else "", f"{each.burst:g}" if each.burst else "",
         str(each.running) if each.running else ""]
        for kind, each in sorted(found.items())
    ]  # fmt: skip
    if rows:
        table([("kind", "<"), ("rate", ">"), ("burst", ">"), ("running", ">")], rows)
    else:
        setup.note("no bounds are set")
