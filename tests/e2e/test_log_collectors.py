"""What senders of syslog and the journal send is kept as they meant it: rsyslog, logger, journald, Python's handler."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
from collections.abc import Iterator
from logging.handlers import SysLogHandler
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.patience import until
from tests.servers import certificates, journald, needed, rsyslogd
from vcache.logs.collect import Collector, Ticket
from vcache.logs.memory import MemoryLogs
from vcache.logs.record import Record
from vcache.query.levels import ERROR, NOTE, WARNING
from vcache.query.syntax import Everything, Query

pytestmark = pytest.mark.e2e


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short enough for a socket's."""
    with TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def store() -> Iterator[MemoryLogs]:
    with MemoryLogs() as logs:
        yield logs


@pytest.fixture
def collector(store: MemoryLogs) -> Iterator[Collector]:
    with Collector(store) as made:
        yield made


def kept(store: MemoryLogs) -> list[Record]:
    rows = list(store.search(Query(Everything())).rows)
    return [row for row in rows if isinstance(row, Record) and row.source != "vcache"]


def logger(sock: Path, *arguments: str) -> None:
    """The command of util-linux."""
    subprocess.run([needed("logger", "bsdutils"), "--socket", str(sock), *arguments], check=True)


def found(store: MemoryLogs, text: str) -> Record:
    """The record with a text in its message, as soon as it is there."""
    until(lambda: any(text in record.message for record in kept(store)))
    return next(record for record in kept(store) if text in record.message)


FORWARDS = {
    "udp": 'Protocol="udp"',
    "tcp": 'Protocol="tcp"',
    "counted": 'Protocol="tcp" TCP_Framing="octet-counted"',
}


@pytest.mark.parametrize(
    "template",
    ["RSYSLOG_SyslogProtocol23Format", "RSYSLOG_ForwardFormat", "RSYSLOG_TraditionalForwardFormat"],
)
@pytest.mark.parametrize("how", sorted(FORWARDS))
def test_rsyslog_forwards(collector, store, place, how, template):
    """Over UDP and TCP, in both RFCs and its own format: level, program, process and text arrive."""
    port = collector.listen(f"syslog+{'udp' if how == 'udp' else 'tcp'}://127.0.0.1:0").port
    settings = (
        f'*.* action(type="omfwd" Target="127.0.0.1" Port="{port}" {FORWARDS[how]} Template="{template}")'
    )
    with rsyslogd(place, settings) as sock:
        logger(sock, "-t", "gcc", "--id=4711", "-p", "daemon.warning", "unused variable: größe")
        logger(sock, "-t", "make", "-p", "user.err", "*** [all] Error 1")
        warning, error = found(store, "unused"), found(store, "Error 1")
    # rsyslog keeps the space behind "gcc[4711]:" as a part of the message, and says so in RFC 5424.
    space = " " if template == "RSYSLOG_SyslogProtocol23Format" else ""
    assert (warning.level, warning.source, warning.message) == (
        WARNING,
        "gcc",
        f"{space}unused variable: größe",
    )
    assert warning.fields["procid"] == "4711" and warning.fields["facility"] == "daemon"
    assert warning.fields["host"] == socket.gethostname().partition(".")[0]
    assert (error.level, error.source, error.message) == (ERROR, "make", f"{space}*** [all] Error 1")


def test_rsyslog_reads_a_file_and_sends_it_over_tls(collector, store, place):
    """imfile to us with a certificate on both sides, as the how-to has it."""
    made = certificates(place / "tls")
    port = collector.listen(
        f"syslog+tls://127.0.0.1:0?cert={made.server}&key={made.server_key}&ca={made.authority}"
    ).port
    (place / "build.log").write_text("".join(f"line {number}\n" for number in range(1_000)))
    settings = f"""
module(load="imfile")
global(DefaultNetstreamDriver="ossl" DefaultNetstreamDriverCAFile="{made.authority}"
  DefaultNetstreamDriverCertFile="{made.client}" DefaultNetstreamDriverKeyFile="{made.client_key}")
input(type="imfile" File="{place}/build.log" Tag="build" Facility="local0")
*.* action(type="omfwd" Target="127.0.0.1" Port="{port}" Protocol="tcp" TCP_Framing="octet-counted"
  Template="RSYSLOG_SyslogProtocol23Format" StreamDriver="ossl" StreamDriverMode="1"
  StreamDriverAuthMode="x509/certvalid")
"""
    with rsyslogd(place, settings):  # needs the package rsyslog-openssl as well
        until(lambda: len(kept(store)) >= 1_000)
    assert sorted(record.message for record in kept(store)) == sorted(
        f"line {number}" for number in range(1_000)
    )
    assert {record.source for record in kept(store)} == {"build"}


def test_rsyslog_waits_for_us(collector, store, place):
    """What it took before we listened comes when we do: nothing is lost on a restart of ours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = (
        f'*.* action(type="omfwd" Target="127.0.0.1" Port="{port}" Protocol="tcp" '
        'action.resumeRetryCount="-1" action.resumeInterval="1" queue.type="linkedList")'
    )
    with rsyslogd(place, settings) as sock:
        for number in range(20):
            logger(sock, "-t", "early", f"line {number}")
        collector.listen(f"syslog+tcp://127.0.0.1:{port}")
        until(lambda: len(kept(store)) >= 20)
    # What it did not know to have arrived it sends again.
    assert list(dict.fromkeys(record.message for record in kept(store))) == [
        f"line {number}" for number in range(20)
    ]


@pytest.mark.parametrize("options", [["--rfc3164"], ["--rfc5424"], ["--rfc5424=notime,nohost"]])
@pytest.mark.parametrize("transport", ["--udp", "--tcp", "--tcp --octet-count"])
def test_logger_sends(collector, store, options, transport):
    """The command of every Linux, over the network."""
    port = collector.listen(f"syslog+{'udp' if 'udp' in transport else 'tcp'}://127.0.0.1:0").port
    command = [needed("logger", "bsdutils"), *transport.split(), *options, "-n", "127.0.0.1", "-P", str(port)]
    subprocess.run([*command, "-t", "deploy", "-p", "local3.notice", "a release: 1.2"], check=True)
    record = found(store, "release")
    assert (record.level, record.source, record.message) == (NOTE, "deploy", "a release: 1.2")
    assert record.fields["facility"] == "local3"


def test_a_socket_such_as_dev_log(collector, store, place):
    """`logger --socket`, and Python's handler, write as to /dev/log; the kernel says who they were."""
    collector.listen(f"unixgram://{place}/dev-log")
    logger(place / "dev-log", "-t", "tool", "-p", "user.warning", "from a shell")
    record = found(store, "from a shell")
    assert (record.level, record.source, record.fields["peer.uid"]) == (WARNING, "tool", os.getuid())


@pytest.mark.parametrize("kind", ["udp", "tcp", "unixgram"])
def test_python_logs(collector, store, place, kind):
    """`logging.handlers.SysLogHandler`, whose lines end with a NUL."""
    if kind == "unixgram":
        collector.listen(f"unixgram://{place}/dev-log")
        handler = SysLogHandler(str(place / "dev-log"))
    else:
        port = collector.listen(f"syslog+{kind}://127.0.0.1:0").port
        handler = SysLogHandler(
            ("127.0.0.1", port), socktype=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
        )
    handler.ident = "app: "
    log = logging.getLogger(f"test-{kind}")
    log.propagate = False
    log.addHandler(handler)
    try:
        log.warning("something is %s", "odd")
        log.error("really")
        record, error = found(store, "odd"), found(store, "really")
    finally:
        log.removeHandler(handler)
        handler.close()
    assert (record.level, record.source, record.message) == (WARNING, "app", "something is odd")
    assert (error.level, error.message) == (ERROR, "really")


def test_a_live_journal(store, place):
    """A real journald: what is logged comes within moments; a restart goes on where it was, nothing twice."""
    state = place / "state"
    with journald(place) as journal:
        arguments = ["--directory", str(journal.directory), "--lines=all"]
        logger(journal.socket, "-t", "unit", "before")
        with Collector(store) as collector:
            collector.follow_journal(state=state, arguments=arguments)
            found(store, "before")
            logger(journal.socket, "-t", "unit", "-p", "user.err", "while")
            record = found(store, "while")
        assert (record.level, record.source) == (ERROR, "unit") and record.fields["_UID"] == str(os.getuid())
        logger(journal.socket, "-t", "unit", "between")
        with Collector(store) as collector:
            collector.follow_journal(state=state, arguments=arguments)
            found(store, "between")
            logger(journal.socket, "-t", "unit", "after")
            found(store, "after")
    said = [record.message for record in kept(store) if record.source == "unit"]
    assert said == ["before", "while", "between", "after"]


def test_journalctl_that_is_killed_is_started_again(store, place):
    """From the last record that it gave."""
    with journald(place) as journal, Collector(store) as collector:
        reading = collector.follow_journal(arguments=["--directory", str(journal.directory), "--lines=all"])
        logger(journal.socket, "-t", "unit", "first")
        found(store, "first")
        first_pid = reading.pid
        assert first_pid is not None
        os.kill(first_pid, 9)
        logger(journal.socket, "-t", "unit", "second")
        found(store, "second")
        assert reading.pid != first_pid
    assert [record.message for record in kept(store) if record.source == "unit"] == ["first", "second"]


def test_a_record_of_asyncio_is_handed_in_without_waiting(collector, store):
    """A server's loop hands in, goes on, and is told when it is kept."""
    import asyncio  # here only: the rest is threads and sockets

    async def serve() -> list[int]:
        loop = asyncio.get_running_loop()
        waits: list[asyncio.Future[int]] = []
        for number in range(100):
            kept_one: asyncio.Future[int] = loop.create_future()

            def on_done(ticket: Ticket, future: asyncio.Future[int] = kept_one) -> None:
                loop.call_soon_threadsafe(future.set_result, ticket.count)

            collector.submit([Record(number, 9, "http", f"request {number}")], wait=False, on_done=on_done)
            waits.append(kept_one)
        return await asyncio.gather(*waits)

    assert asyncio.run(serve()) == [1] * 100
    assert [record.message for record in kept(store)] == [f"request {number}" for number in range(100)]
