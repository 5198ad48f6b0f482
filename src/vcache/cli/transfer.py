"""`vcache push`, `pull`, `export` and `import`: entries between caches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar, cast

import click

from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import print_json, progress, shown_name
from vcache.errors import StoreError, UsageError
from vcache.kit.units import format_bytes

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.config import Settings
    from vcache.entry import Key
    from vcache.store.base import Store
    from vcache.transfer import Report

__all__ = ["export", "import_", "pull", "push"]

F = TypeVar("F", bound=Callable[..., object])
_NAMED: Final = 10  # of what could not be moved
_PATIENCE_S: Final = 3.0  # with a remote
_Step = Callable[[int, int], None]


def _selecting(function: F) -> F:
    """The options that say which entries are meant."""
    from vcache.cli.journals import directory_option

    options = (
        click.option(
            "--since", metavar="RUN",
            help="Only what that run of `vcache build`, and later ones, took from the cache or put into it.",
        ),
        directory_option,
        click.option(
            "--tag", "-t", "tags", metavar="TAG", multiple=True, help="Only what has one of these labels."
        ),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be moved.")


@click.command(short_help="Bring entries to another cache.")
@click.argument("remote", required=False)
@_selecting
@_dry_run
@shared_options(json=True)
@click.pass_obj
def push(
    setup: Setup, remote: str | None, since: str | None, directory: str | None, tags: tuple[str, ...], *,
    dry_run: bool,
) -> int:  # fmt: skip
    """Bring to REMOTE what it lacks of this cache, results after the files that they stand for.

    REMOTE is an address, or the name of one of the setting `remote`; without it, the only one there.
    What was stopped goes on where it was when it is started again. Without --since, --tag and
    --namespace all entries are meant. The exit code is 1 when something could not be moved.

    --json prints an object: `moved`, `moved_bytes`, `skipped` (were there), `kept` (are there with
    another content, and stay), `lost` (each `key` and `why`), `stopped` (why not all was looked at, or "").
    """
    from vcache.transfer import StoreSink, send

    with setup.open(has_remotes=False) as cache, _remote(setup, remote, writes=True) as store:
        keys, total = _keys(setup, cache, cache.store, since, directory, tags)
        with _bar(setup, "pushing") as step:
            report = send(cache.store, keys, StoreSink(store), total=total, is_dry_run=dry_run, progress=step)
    return _tell(setup, report, "would push" if dry_run else "pushed")


@click.command(short_help="Fetch entries from another cache.")
@click.argument("remote", required=False)
@_selecting
@_dry_run
@shared_options(json=True)
@click.pass_obj
def pull(
    setup: Setup, remote: str | None, since: str | None, directory: str | None, tags: tuple[str, ...], *,
    dry_run: bool,
) -> int:  # fmt: skip
    """Fetch from REMOTE what this cache lacks. Everything is verified before it is kept.

    Arguments, options and --json are those of `vcache push`.
    """
    from vcache.store.tiers import mark_foreign
    from vcache.transfer import StoreSink, send

    with setup.open(has_remotes=False) as cache, _remote(setup, remote, writes=False) as store:
        _require_writable(cache)
        faults = store.counters().faults
        if not (store.info.is_listed or since):
            _require_answer(store)
            raise UsageError(
                f"{store.info.url} cannot list what it holds: say what to fetch with --since RUN"
            )
        keys, total = _keys(setup, cache, store, since, directory, tags)
        sink = StoreSink(cache.store, after=cache.keep_budget)
        if not dry_run:
            mark_foreign(getattr(cache.store, "tiers", (cache.store,)))
        with _bar(setup, "fetching") as step:
            report = send(store, keys, sink, total=total, is_dry_run=dry_run, progress=step)
        if store.counters().faults > faults and not report.stopped:
            # What it did not tell of looks as if it were not there.
            report.stopped = f"{store.info.url} failed now and then: start again for what is missing"
    return _tell(setup, report, "would fetch" if dry_run else "fetched")


@click.command(short_help="Write entries into a file.")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@_selecting
@shared_options(json=True)
@click.pass_obj
def export(setup: Setup, file: str, since: str | None, directory: str | None, tags: tuple[str, ...]) -> int:
    """Write entries into FILE, or to standard output for "-", for `vcache import` to read elsewhere.

    FILE appears whole or not at all. Options are those of `vcache push`, as is what --json prints, to
    standard error if FILE is "-".
    """
    from vcache.transfer import Writer, send

    with setup.open(has_remotes=False) as cache:
        keys, total = _keys(setup, cache, cache.store, since, directory, tags)
        with _written(file) as stream, _bar(setup, "writing") as step:
            writer = Writer(stream)
            report = send(cache.store, keys, writer, total=total, progress=step)
            if report.stopped:
                raise StoreError(report.stopped)
            writer.end()
    return _tell(setup, report, "wrote", is_aside=file == "-")


@click.command("import", short_help="Take entries from a file.")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, exists=True))
@click.option("--replace", is_flag=True, help="Put what differs in place of what is there.")
@_dry_run
@shared_options(json=True)
@click.pass_obj
def import_(setup: Setup, file: str, *, replace: bool, dry_run: bool) -> int:
    """Take from FILE, or from standard input for "-", what this cache lacks.

    Every entry is verified; damaged ones are left out and named. Of a file that was cut off all that
    is whole is taken. The exit code is 1 in both cases. --json prints what `vcache push` does.
    """
    from vcache.transfer import receive

    with (
        setup.open(has_remotes=False) as cache,
        click.open_file(file, "rb") as stream,
        _bar(setup, "taking") as step,
    ):
        _require_writable(cache)
        report = receive(
            cast("BinaryIO", stream), cache.store, replace=replace, is_dry_run=dry_run, progress=step,
            after=cache.keep_budget,
        )  # fmt: skip
    return _tell(setup, report, "would take" if dry_run else "took")


# -- which entries -----------------------------------------------------------------------------


def _keys(
    setup: Setup, cache: Cache, source: Store, since: str | None, directory: str | None, tags: Sequence[str]
) -> tuple[Iterator[Key] | list[Key], int]:
    """The keys that are meant, referents first, and how many they are; 0 if nobody knows.

    Raises:
        UsageError: there is no such run.
    """
    from vcache.transfer import everything, tagged, with_referents

    if since is not None:
        keys = with_referents(source, _of_runs(cache, since, directory, frozenset(tags), source))
    elif tags or setup.namespace is not None:
        keys = with_referents(source, tagged(source, namespace=setup.namespace, tags=tags))
    else:
        return everything(source), source.counters().entries if source.info.is_trusted else 0
    return keys, len(keys)


def _of_runs(
    cache: Cache, since: str, directory: str | None, tags: frozenset[str], source: Store
) -> Iterator[Key]:
    """The keys of results that runs took or kept."""
    from vcache.cli.journals import base_of, chosen
    from vcache.dag import journal
    from vcache.store.tiers import entry_of

    base = base_of(directory)
    known = journal.runs(base)
    if not known:
        raise UsageError(f"--since {since}: no run of {base} is written down")
    first, _ = chosen(since, known)
    seen: set[str] = set()
    for run, path in known:
        if run < first:
            continue
        for line in journal.lines(path, naming="result"):
            name = line.text("result")
            if name and name not in seen:
                seen.add(name)
                key = cache.key(name)
                if not tags or ((entry := entry_of(source, key)) is not None and entry.tags & tags):
                    yield key


# -- from where to where -----------------------------------------------------------------------


@contextmanager
def _remote(setup: Setup, word: str | None, *, writes: bool) -> Iterator[Store]:
    """The store that an address or a name means.

    Raises:
        UsageError: there is none of that name.
    """
    from vcache.opening import tried
    from vcache.store.url import open_store

    settings = setup.settings()
    address = tried(settings, _address(settings, word))
    if address is None:
        raise UsageError(f"{word}: its address is behind a flag that is off here")
    store = open_store(_through(address) if writes else address)
    if writes and store.info.is_read_only:
        store.close()
        raise UsageError(f"{store.info.url} is read-only: nothing can be brought there")
    try:
        yield store
    finally:
        store.close()


def _address(settings: Settings, word: str | None) -> str:
    remotes = settings.remotes
    if word is None:
        if len(remotes) == 1:
            return next(iter(remotes.values()))
        known = f": {', '.join(remotes)}" if remotes else ", and the setting `remote` names none"
        raise UsageError(f"say which REMOTE is meant{known}")
    if word in remotes:
        return remotes[word]
    if ":" not in word and "/" not in word:
        from vcache.kit.names import did_you_mean

        raise UsageError(
            f"there is no remote {word!r}{did_you_mean(word, remotes)}: give a name or an address"
        )
    return word


def _through(address: str) -> str:
    """An address whose guard says what became of a put, instead of sending it some time."""
    from vcache.store.address import parse_url
    from vcache.store.url import is_network

    url = parse_url(address)
    if "write" in url.options or not is_network(url.scheme):
        return address
    return f"{address}{'&' if url.options else '?'}write=through"


def _require_answer(store: Store) -> None:
    """Raise why a remote does not answer, if so: what it can do is not known then."""
    check: Callable[[float], str | None] | None = getattr(store, "check", None)
    why = None if check is None else check(_PATIENCE_S)
    if why is not None:
        raise StoreError(f"{store.info.url} does not serve: {why}")


def _require_writable(cache: Cache) -> None:
    if cache.is_read_only:
        raise StoreError(f"{cache.store.info.url} is read-only: nothing can be taken in")


@contextmanager
def _written(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdout.buffer
        return
    from vcache.kit.fs_atomic import atomic_file

    with atomic_file(file) as stream:
        yield stream


# -- what became of it -------------------------------------------------------------------------


@contextmanager
def _bar(setup: Setup, verb: str) -> Iterator[_Step | None]:
    with progress(setup, verb) as step:
        yield None if step is None else lambda done, total: step("entries", done, max(done, total))


def _tell(setup: Setup, report: Report, verb: str, *, is_aside: bool = False) -> int:
    if setup.is_json:
        lost = [{"key": None if name is None else shown_name(name), "why": why} for name, why in report.lost]
        found = {name: getattr(report, name) for name in ("moved", "moved_bytes", "skipped", "kept")}
        _json({**found, "lost": lost, "stopped": report.stopped}, is_aside=is_aside)
        return 0 if report else 1
    for name, why in report.lost[:_NAMED]:
        click.echo(f"vcache: {why if name is None else f'{shown_name(name)}: {why}'}", err=True)
    if len(report.lost) > _NAMED:
        click.echo(f"vcache: … and {len(report.lost) - _NAMED:,} more", err=True)
    if report.stopped:
        click.echo(f"vcache: error: {report.stopped}", err=True)
    if not (is_aside and setup.is_quiet):
        click.echo(_words(report, verb), err=is_aside)
    return 0 if report else 1


def _json(value: object, *, is_aside: bool) -> None:
    if not is_aside:
        print_json(value)
        return
    import json

    click.echo(json.dumps(value), err=True)


def _words(report: Report, verb: str) -> str:
    parts = [f"{verb} {_entries(report.moved)} ({format_bytes(report.moved_bytes)})"]
    if report.skipped:
        parts.append(f"{report.skipped:,} were there")
    if report.kept:
        parts.append(f"{report.kept:,} differ from what is there, which stays")
    if report.lost:
        parts.append(f"{len(report.lost):,} could not be moved")
    return ", ".join(parts)


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"
