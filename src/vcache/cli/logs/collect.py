"""`vcache logs collect`: take what comes in at addresses, until it is ended."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from vcache.cli.logs.where import logs_option, opened, place_of
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import print_json
from vcache.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import FrameType

    from vcache.logs.base import LogStore
    from vcache.logs.collect import Collector
    from vcache.logs.collect.addresses import ListenAddress
    from vcache.logs.collect.counts import Counters
    from vcache.logs.collect.journal import JournalReading

__all__ = ["collect"]

_CLOSE_S: Final = 30.0


@click.command(short_help="Take what comes in at addresses.")
@click.option("--listen", "-l", "specs", metavar="URL", multiple=True,
              help="syslog+udp://HOST:PORT, syslog+tcp://…, syslog+tls://…?cert=FILE&key=FILE, unix:///PATH, "
              "unixgram:///PATH.")  # fmt: skip
@click.option("--journal", is_flag=True, help="Also the machine's journal, from where the last time ended.")
@click.option("--match", "matches", metavar="FIELD=VALUE", multiple=True,
              help="Of the journal only what journalctl would show, such as _SYSTEMD_UNIT=ssh.service.")  # fmt: skip
@click.option("--exposed", is_flag=True, help="Addresses may be ones that other machines can reach.")
@logs_option
@shared_options(json=True, taken=("-l",))
@click.pass_obj
def collect(
    setup: Setup, specs: tuple[str, ...], *, journal: bool, matches: tuple[str, ...], exposed: bool,
    place: str | None,
) -> int:  # fmt: skip
    """Keep what comes in at each --listen, and in the journal, until Ctrl-C or SIGTERM.

    What was acknowledged survives a power loss; what was dropped is counted, said in the log itself and at
    the end. The exit code is 0 when nothing was dropped, 1 otherwise.
    """
    if not specs and not journal:
        raise UsageError(
            "nothing to collect: give --listen URL, such as syslog+udp://127.0.0.1:5514, or --journal"
        )
    if matches and not journal:
        raise UsageError("--match goes with --journal")
    from vcache.logs.collect import Collector

    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    with _heeding(end), opened(setup, place, seals=False) as store, _sealing(store):
        collector = Collector(store)
        reading = None
        try:
            if journal:
                reading = _reading(collector, place_of(setup, place), matches)
            for spec in specs:
                listening = collector.listen(spec, is_exposed=exposed)
                setup.note(f"listens at {_shown(listening.address)}, into {place_of(setup, place)}")
            ended.wait()
        finally:
            if reading is not None:
                reading.close()
            collector.close(_CLOSE_S)
        counters = collector.counters()
    _report(setup, counters)
    return 1 if counters.dropped_total else 0


@contextmanager
def _heeding(end: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM end what is done in this context, and mean afterwards what they meant before."""
    before = [(number, signal.signal(number, end)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _sealing(store: LogStore) -> AbstractContextManager[object]:
    """What seals beside us: a thread would take turns with those that receive."""
    from vcache.logs.collect.sealing import SealProcess
    from vcache.logs.disk import DiskLogs

    return SealProcess(store.directory) if isinstance(store, DiskLogs) else nullcontext()


def _reading(collector: Collector, place: str, matches: tuple[str, ...]) -> JournalReading:
    from vcache.logs.collect.journal import JournalReading

    # Beside the store, whose directory holds nothing but its own.
    return JournalReading(collector, state=Path(f"{place}.journal"), arguments=matches)


def _shown(address: ListenAddress) -> str:
    where = address.path or f"{address.host}:{address.port}"
    return f"{address.scheme}://{where}"


def _report(setup: Setup, counters: Counters) -> None:
    if setup.is_json:
        print_json({
            "accepted": counters.accepted, "kept": counters.kept, "dropped": counters.dropped_total,
            "by_reason": [{"origin": what.origin, "reason": what.reason, "records": count} for what, count in counters.dropped.items()],
        })  # fmt: skip
        return
    setup.note(f"{counters.kept:,} records kept, {counters.dropped_total:,} dropped")
