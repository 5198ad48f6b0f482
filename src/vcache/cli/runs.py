"""`vcache history` and `diff`: what earlier runs did, and how two of them differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from vcache.cli.journals import (
    SHORT_ID,
    RunCommand,
    base_of,
    chosen,
    complete_target,
    directory_option,
    lines_naming,
    one_line,
    only,
    unknown_target,
)
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import ago, moment, pairs, print_json, table
from vcache.dag import history as past
from vcache.dag import journal
from vcache.dag.events import INTERRUPTED
from vcache.kit.units import format_duration

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.dag.history import Change, Difference, Made, Run, Summary
    from vcache.kit.diagnostics import Diagnostic

__all__ = ["diff", "history"]

_MOST: Final = 20
_WORK: Final = ("ran", "failed", "unfinished")


# --- history ---------------------------------------------------------------------------------


@click.command(cls=RunCommand, short_help="What earlier builds did.")
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--limit", "-l", metavar="N", type=click.IntRange(min=1), default=_MOST, show_default=True,
              help="Show at most so many runs, or rows of one.")  # fmt: skip
@click.option(
    "--target",
    "-t",
    metavar="TARGET",
    shell_complete=complete_target,
    help="Show what became of one target in each run.",
)
@directory_option
@shared_options(json=True)
@click.pass_obj
def history(setup: Setup, run: str | None, *, limit: int, target: str | None, directory: str | None) -> int:
    """List the last runs of `vcache build` in a directory, or tell one of them.

    RUN is "last", -2 for the one before, or the beginning or end of an id. Runs that had nothing to
    do are not written down. The last 50 are kept.

    --json prints a list of objects, newest first: `run`, `started_ns`, `goals`, `status` (null
    for a run that was killed or goes on), `error`, `took_s`, `saved_s`, `run_count`, `hit_count`,
    `up_to_date_count`, `failed_count`, `critical_path` (names) and `critical_s`. With RUN it
    prints one of them, with `nodes` and `notes`; with --target each has `node`.
    """
    base = base_of(directory)
    known = journal.runs(base)
    if run is not None:
        return _tell_run(setup, _read(*chosen(run, known)), limit)
    if target is not None:
        return _tell_target(setup, base, target, limit)
    found = [_summary(*each) for each in reversed(known[-limit:])]
    if setup.is_json:
        print_json([_summary_json(each) for each in found])
    elif not found:
        click.echo(f"no run of {base} is written down")
    else:
        _list_runs(found)
    return 0


def _list_runs(found: Sequence[Summary]) -> None:
    columns = (("run", "<"), ("id", "<"), ("when", "<"), ("goals", "<"), ("built", ">"), ("cached", ">"),
               ("failed", ">"), ("took", ">"), ("saved", ">"), ("status", "<"))  # fmt: skip
    rows = [
        ("last" if number == 1 else f"-{number}", each.id[-SHORT_ID:], moment(each.started_ns), _goals(each),
         f"{each.n_run:,}", f"{each.n_hit:,}", f"{each.n_failed:,}" if each.n_failed else "",
         _duration(each.took_ns), _duration(each.saved_ns or None), _status(each))
        for number, each in enumerate(found, 1)
    ]  # fmt: skip
    table(columns, rows)


def _tell_run(setup: Setup, run: Run, limit: int) -> int:
    summary = run.summary
    if setup.is_json:
        nodes = [_made_json(made) for made in run.nodes.values()]
        print_json({**_summary_json(summary), "nodes": nodes, "notes": list(run.notes)})
        return 0
    rows = [
        ("run", summary.id), ("when", f"{moment(summary.started_ns)} ({ago(summary.started_ns, time.time_ns())})"),
        ("goals", _goals(summary)), ("status", _status(summary)), ("took", _duration(summary.took_ns)),
        ("built", f"{summary.n_run:,}"), ("from the cache", f"{summary.n_hit:,}"),
        ("up to date", f"{summary.n_up_to_date:,}"), ("failed", f"{summary.n_failed:,}"),
        ("saved", _duration(summary.saved_ns or None)),
    ]  # fmt: skip
    if summary.error:
        rows.append(("error", one_line(summary.error)))
    pairs([row for row in rows if row[1] not in ("", "0")])
    made = run.nodes.values()
    failed = [each for each in made if each.how == "failed"]
    _section(
        "failed", [f"{one_line(each.name)}: {one_line(each.remark) or each.status}" for each in failed], limit
    )
    slowest = sorted((each for each in made if each.how in _WORK), key=lambda each: -each.took_ns)
    _section(
        "ran, slowest first",
        [
            f"{_duration(each.took_ns):>8}  {one_line(each.name)}  {one_line(each.reason)}".rstrip()
            for each in slowest
        ],
        limit,
    )
    critical = [one_line(name) for name in summary.critical]
    _section(f"what the end waited for, {_duration(summary.critical_ns)}", critical, limit)
    _section("notes", [one_line(note) for note in run.notes], limit)
    return 0


def _tell_target(setup: Setup, base: str, target: str, limit: int) -> int:
    """A target over the runs, newest first."""
    rows: list[tuple[Summary, Made]] = []
    for run_id, path in reversed(journal.runs(base)):
        if len(rows) == limit:
            break
        run = past.described(run_id, lines_naming(path, target))
        rows += [(run.summary, made) for made in only(target, past.matching(target, run.nodes.values()))]
    if not rows:
        raise unknown_target(target, base)
    if setup.is_json:
        print_json([{**_summary_json(summary), "node": _made_json(made)} for summary, made in rows])
        return 0
    columns = (("id", "<"), ("when", "<"), ("target", "<"), ("what", "<"), ("took", ">"), ("why", "<"))
    table(
        columns,
        [
            (summary.id[-SHORT_ID:], moment(summary.started_ns), one_line(made.name), made.how.replace("_", " "),
             _duration(made.took_ns or None), one_line(made.reason or made.remark))
            for summary, made in rows
        ],
    )  # fmt: skip
    return 0


# --- diff ------------------------------------------------------------------------------------


@click.command(cls=RunCommand, short_help="How two builds differ.")
@click.argument("older", metavar="[RUN1]", default="-2")
@click.argument("newer", metavar="[RUN2]", default="last")
@click.option("--limit", "-l", metavar="N", type=click.IntRange(min=1), default=_MOST, show_default=True,
              help="Show at most so many rows of each kind.")  # fmt: skip
@directory_option
@shared_options(json=True)
@click.pass_obj
def diff(setup: Setup, older: str, newer: str, *, limit: int, directory: str | None) -> int:
    """Say what the run RUN2 did that RUN1 did not: by default the last and the one before it.

    A run is "last", -2 for the one before, or the beginning or end of an id. Told are steps that
    ran in one and not in the other, and why; failures that came or went; other reasons to run;
    times that differ by a quarter and 50 ms; and compilers' messages that came or went. A step that
    a run did not look at, as nothing it needs had changed, counts as not run.

    --json prints an object: `older` and `newer`, each as in `history --json`; lists of names `ran`,
    `spared`, `broke`, `mended`, `slower`, `faster`, `reasons`, each row `node`, `older` and `newer`
    (null, or what became of it); and `diagnostics`, each `node`, `what` ("new" or "gone"), `level`,
    `file`, `line`, `message`.
    """
    known = journal.runs(base_of(directory))
    found = past.compared(_read(*chosen(older, known)), _read(*chosen(newer, known)))
    messages = tuple(_messages(setup, found.logs))
    if setup.is_json:
        print_json(_difference_json(found, messages))
    else:
        _tell_difference(found, messages, limit)
    return 0


class _Message(NamedTuple):
    node: str
    what: str
    said: Diagnostic


def _messages(setup: Setup, changes: Sequence[Change]) -> Iterator[_Message]:
    """Compilers' messages that one run has and the other has not. A line number alone is no difference."""
    if not changes:
        return
    with setup.open() as cache:
        for change in changes:
            assert change.older is not None and change.newer is not None
            older, newer = (_diagnostics(cache, made) for made in (change.older, change.newer))
            yield from (_Message(change.name, "new", said) for key, said in newer.items() if key not in older)
            yield from (
                _Message(change.name, "gone", said) for key, said in older.items() if key not in newer
            )


def _diagnostics(cache: Cache, made: Made) -> Mapping[tuple[str, str, str], Diagnostic]:
    from vcache.dag.nodelogs import recall
    from vcache.kit.diagnostics import parse

    text = b"".join(data for _, _, data in recall(cache, made.log) or ()).decode("utf-8", "replace")
    return {(said.level, said.file, said.message): said for said in parse(text)}


def _tell_difference(found: Difference, messages: Sequence[_Message], limit: int) -> None:
    now_ns = time.time_ns()
    for each in (found.older, found.newer):
        click.echo(
            f"{each.id[-SHORT_ID:]}  {ago(each.started_ns, now_ns)}  {_goals(each)}: built {each.n_run:,}, "
            f"{each.n_hit:,} from the cache, {_duration(each.took_ns) or 'no end'}, {_status(each)}"
        )
    if found.is_empty:
        click.echo("\nthey did the same")
        return
    was = {None: "not looked at", "hit": "from the cache", "up_to_date": "up to date"}
    sections: dict[str, tuple[str, Callable[[Any, Any], object]]] = {
        "broke": ("broke", lambda old, new: new.remark or f"status {new.status}"),
        "mended": ("mended", lambda old, new: f"was: {old.remark or f'status {old.status}'}"),
        "ran": ("ran", lambda old, new: f"{new.reason} (was {was.get(old and old.how, old and old.how)})"),
        "spared": ("did not run", lambda old, new: was.get(new and new.how, "")),
        "reasons": ("ran for another reason", lambda old, new: f"{old.reason} → {new.reason}"),
        "slower": ("slower", lambda old, new: f"{_duration(old.took_ns)} → {_duration(new.took_ns)}"),
        "faster": ("faster", lambda old, new: f"{_duration(old.took_ns)} → {_duration(new.took_ns)}"),
    }
    for name, (title, words) in sections.items():
        changes = getattr(found, name)
        _section(
            title,
            [
                f"{one_line(change.name)}  {one_line(str(words(change.older, change.newer)))}"
                for change in changes
            ],
            limit,
        )
    for what in ("new", "gone"):
        told = [message.said for message in messages if message.what == what]
        _section(f"{what} messages", [one_line(_said(each)) for each in told], limit)
    told_of = {message.node for message in messages}
    rest = [one_line(change.name) for change in found.logs if change.name not in told_of]
    _section("wrote something else", rest, limit)


def _said(diagnostic: Diagnostic) -> str:
    place = ":".join(str(part) for part in (diagnostic.file, diagnostic.line, diagnostic.column) if part)
    option = f" [{diagnostic.option}]" if diagnostic.option else ""
    return f"{f'{place}: ' if place else ''}{diagnostic.level}: {diagnostic.message}{option}"


# --- what all share --------------------------------------------------------------------------


def _read(run_id: str, path: str) -> Run:
    return past.described(run_id, journal.lines(path))


def _summary(run_id: str, path: str) -> Summary:
    first, last = journal.ends(path)
    if first is None:
        return past.Summary(run_id, 0)
    found = past.summary(run_id, (first, *last))
    # Without its end the counts are those of all its events.
    return found if found.ended_ns is not None else past.summary(run_id, journal.lines(path))


def _section(title: str, rows: Sequence[str], limit: int) -> None:
    if not rows:
        return
    click.echo(f"\n{title} ({len(rows):,}):")
    for row in rows[:limit]:
        click.echo(f"  {row}")
    if len(rows) > limit:
        click.echo(f"  and {len(rows) - limit:,} more (--limit)")


def _goals(summary: Summary) -> str:
    return one_line(" ".join(summary.goals)) or "the default"


def _status(summary: Summary) -> str:
    if summary.status is None:
        return "no end"
    return {0: "ok", 1: "failed", INTERRUPTED: "interrupted"}.get(summary.status, f"status {summary.status}")


def _duration(duration_ns: int | None) -> str:
    return "" if duration_ns is None else format_duration(duration_ns / 1e9)


def _summary_json(summary: Summary) -> dict[str, object]:
    return {
        "run": summary.id, "started_ns": summary.started_ns, "goals": list(summary.goals),
        "status": summary.status, "error": summary.error,
        "took_s": None if summary.took_ns is None else summary.took_ns / 1e9,
        "saved_s": summary.saved_ns / 1e9, "run_count": summary.n_run, "hit_count": summary.n_hit,
        "up_to_date_count": summary.n_up_to_date, "failed_count": summary.n_failed,
        "critical_path": list(summary.critical), "critical_s": summary.critical_ns / 1e9,
    }  # fmt: skip


def _made_json(made: Made) -> dict[str, object]:
    return {
        "name": made.name, "how": made.how, "took_s": made.took_ns / 1e9, "saved_s": made.saved_ns / 1e9,
        "reason": made.reason, "command": made.words, "status": made.status, "tries": made.tries,
        "remark": made.remark, "log": made.log, "result": made.result,
    }  # fmt: skip


def _difference_json(found: Difference, messages: Sequence[_Message]) -> dict[str, object]:
    names = ("ran", "spared", "reasons", "broke", "mended", "slower", "faster")
    lists = {
        name: [
            {
                "node": change.name,
                "older": None if change.older is None else _made_json(change.older),
                "newer": None if change.newer is None else _made_json(change.newer),
            }
            for change in getattr(found, name)
        ]
        for name in names
    }
    told = [
        {
            "node": message.node, "what": message.what, "level": message.said.level, "file": message.said.file,
            "line": message.said.line, "message": message.said.message,
        }
        for message in messages
    ]  # fmt: skip
    return {
        "older": _summary_json(found.older), "newer": _summary_json(found.newer), **lists, "diagnostics": told,
    }  # fmt: skip
