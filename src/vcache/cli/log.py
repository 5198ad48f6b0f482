"""`vcache log`: what a target wrote when it was built."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from vcache.cli.ansi import safe_text, wants_colour, write
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
from vcache.cli.show import print_json
from vcache.dag import history as past
from vcache.dag import journal
from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.dag.history import Made
    from vcache.dag.nodelogs import Chunks

__all__ = ["log"]


@dataclass(frozen=True, slots=True)
class _Found:
    """The last time that a target was made, and what it wrote then; `run` is "" where only the tree knows."""

    made: Made
    run: str = ""


@click.command(cls=RunCommand, short_help="What a target wrote when it was built.")
@click.argument("target", metavar="TARGET", shell_complete=complete_target)
@click.option("--run", "-r", metavar="RUN", help="Of this run; by default of the last one that made it.")
@click.option("--replay", is_flag=True, help="Print it at the pace at which it was written.")
@click.option("--speed", metavar="X", type=click.FloatRange(min=0, min_open=True), default=1.0,
              help="Replay X times as fast.")  # fmt: skip
@click.option("--raw", is_flag=True, help="Print the bytes as they are, with whatever they do to a terminal.")
@directory_option
@shared_options(json=True)
@click.pass_obj
def log(
    setup: Setup, target: str, *, run: str | None, replay: bool, speed: float, raw: bool, directory: str | None
) -> int:  # fmt: skip
    """Print what TARGET wrote to its standard streams when it was last built, here or elsewhere.

    TARGET is a name or an output, or the end or beginning of one. Colours stay on a terminal and
    are left out elsewhere (NO_COLOR, FORCE_COLOR); other control characters are shown and do
    nothing, but with --raw. The exit code is 1 when the output is no longer in the cache.

    --json prints an object: `node`, `run` (null when it is not known any more), `how`, `status`, `took_s`,
    `log` (the digest in hex, "" when nothing was written), `text`, and `diagnostics`, each `level`,
    `message`, `file`, `line`, `column`, `option`, `within`.
    """
    from vcache.dag.nodelogs import recall

    base = base_of(directory)
    with setup.open() as cache:
        found = _last_made(base, target, run, cache)
        chunks = recall(cache, found.made.log)
    if chunks is None:
        click.echo(
            f"vcache: error: what {one_line(found.made.name)} wrote is no longer in the cache", err=True
        )
        return 1
    if setup.is_json:
        print_json(_log_json(found, chunks))
        return 0
    setup.note(_heading(found, chunks))
    for text in _paced(chunks, speed) if replay else (b"".join(data for _, _, data in chunks),):
        _show(text, is_raw=raw)
    return 0


def _show(data: bytes, *, is_raw: bool) -> None:
    if is_raw:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write(sys.stdout, safe_text(data, keeps_colour=wants_colour(sys.stdout)))


def _paced(chunks: Chunks, speed: float) -> Iterator[bytes]:
    """The output in whole lines, or what stood alone for a while, each at its time."""
    begun_s = time.monotonic()
    pending: dict[int, bytes] = {}
    for stream, at_ns, data in chunks:
        wait_s = at_ns / 1e9 / speed - (time.monotonic() - begun_s)
        if wait_s > 0:
            time.sleep(wait_s)
        whole = pending.pop(stream, b"") + data
        end = _end_of_text(whole)
        if whole[end:]:
            pending[stream] = whole[end:]
        yield whole[:end]
    yield b"".join(pending.values())


def _end_of_text(data: bytes) -> int:
    """Where a letter or an escape begins that goes on in what follows; the length when none does."""
    escape = data.rfind(b"\x1b", -32)
    if escape >= 0 and not any(byte in b"mK\x07\\" for byte in data[escape + 1 :]):
        return escape
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue  # within a letter
        wanted = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
        return len(data) - back if wanted > back else len(data)
    return len(data)


def _heading(found: _Found, chunks: Chunks) -> str:
    made = found.made
    how = {"hit": "from the cache", "up_to_date": "up to date"}.get(made.how, made.how)
    status = f", status {made.status}" if made.status else ""
    run = f" in run {found.run[-SHORT_ID:]}" if found.run else ""
    nothing = "" if chunks else "; it wrote nothing"
    return f"{one_line(made.name)}: {how}{status}{run}{nothing}"


def _last_made(base: str, target: str, run: str | None, cache: Cache) -> _Found:
    """The last time that a target was made.

    Raises:
        UsageError: no run made it, or several targets are meant.
    """
    known = journal.runs(base)
    if run is not None:
        known = [chosen(run, known)]
    latest: dict[str, _Found] = {}
    for run_id, path in reversed(known):
        made_then = _made_in(run_id, path, target)
        for made in made_then:
            latest.setdefault(made.name, _Found(made, run_id))
        if any(made.name == target for made in made_then):
            return latest[target]
    found = past.matching(target, (each.made for each in latest.values()))
    if found:
        (made,) = only(target, found)
        return latest[made.name]
    if run is None and (remembered := _remembered(base, target, cache)) is not None:
        return _Found(remembered)
    raise unknown_target(target, base)


def _made_in(run_id: str, path: str, target: str) -> list[Made]:
    run = past.described(run_id, lines_naming(path, target))
    return [made for made in run.nodes.values() if made.how in ("ran", "failed", "hit")]


def _remembered(base: str, target: str, cache: Cache) -> Made | None:
    """What the tree remembers of a target whose run is not written down any more."""
    from vcache.dag.tree import Tree

    last = Tree.open(base, root=os.fspath(cache.root), digests=cache.digests).last(target)
    if last is None:
        return None
    return past.Made(target, "up_to_date", took_ns=last.took_ns, log=last.log.hex(), result=last.result)


def _log_json(found: _Found, chunks: Chunks) -> dict[str, object]:
    from vcache.kit.diagnostics import parse

    made = found.made
    text = b"".join(data for _, _, data in chunks).decode("utf-8", "replace")
    names = ("level", "message", "file", "line", "column", "option", "within")
    return {
        "node": made.name, "run": found.run or None, "how": made.how, "status": made.status,
        "took_s": made.took_ns / 1e9, "log": made.log, "text": text,
        "diagnostics": [{name: getattr(said, name) for name in names} for said in parse(text)],
    }  # fmt: skip
