"""Listeners over loopback and unix sockets: what is sent is kept, and who sends too much is held or dropped."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.patience import NEVER_S, no_hang, until
from tests.servers import certificates
from tests.unit.logs.collect.listed import ListedLogs
from vcache.errors import ConfigError, StoreClosed, StoreFull, StoreUnavailable
from vcache.logs.collect import Collector, Limits
from vcache.logs.collect.datagrams import OneByOne, Together, kernel_drops


@pytest.fixture
def store():
    return ListedLogs()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short enough for a socket's."""
    with TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(60)
        yield sock


@contextmanager
def local(path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.settimeout(60)
        sock.connect(str(path))
        yield sock


def ended(sock: socket.socket) -> bytes:
    """Say that nothing more comes, and wait until the other side says so as well: what it said before."""
    sock.shutdown(socket.SHUT_WR)
    said = b""
    while piece := sock.recv(4096):
        said += piece
    return said


def test_the_end_of_a_stream_is_a_receipt(store):
    """When our end of a TCP stream is closed, all that was sent is kept."""
    with Collector(store) as collector:
        port = collector.listen("syslog+tcp://127.0.0.1:0").port
        with connected(port) as sock:
            sock.sendall(
                b"<34>Oct 11 22:14:15 host su: first\n20 <34>1 - h a - - - x2<34>Oct 11 22:14:15 h b: third"
            )
            assert ended(sock) == b""
        assert [record.message for record in store.records] == ["first", "x2", "third"]


def test_datagrams_of_udp_are_records(store):
    """Each is one message, of either RFC; those that wait when the collector closes are kept as well."""
    with Collector(store) as collector:
        port = collector.listen("syslog+udp://127.0.0.1:0").port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(500):
                sock.sendto(b"<13>1 - host app - - - line %d" % number, ("127.0.0.1", port))
    assert store.messages == [f"line {number}" for number in range(500)]
    assert collector.counters().dropped == {}


def test_records_of_a_unix_socket_have_who_sent_them(store, place):
    """The kernel vouches for process and user, whatever the sender says."""
    with Collector(store) as collector:
        collector.listen(f"unix://{place}/log?format=json&source=app")
        with local(place / "log") as sock:
            sock.sendall(b'{"message": "a", "peer.pid": 1}\n')
            ended(sock)
        collector.listen(f"unixgram://{place}/dev-log")
        with local(place / "dev-log", socket.SOCK_DGRAM) as sock:
            sock.send(b"<13>Nov 21 21:00:00 me[12]: b")
            sock.send(b'{"message": "c"}')
            sock.send(b"error: d")
    assert [record.message for record in store.records] == ["a", "b", "c", "error: d"]
    assert {record.fields["peer.pid"] for record in store.records} == {os.getpid()}
    assert {record.fields["peer.uid"] for record in store.records} == {os.getuid()}
    assert store.records[0].source == "app"


def test_a_unix_socket_is_its_owners(store, place):
    """Mode 0600 unless another one was asked for; the file is gone afterwards, and one left over is replaced."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(place / "a"))
    left.close()
    with Collector(store) as collector:
        collector.listen(f"unix://{place}/a")
        collector.listen(f"unix://{place}/b?mode=666")
        assert stat.S_IMODE(os.lstat(place / "a").st_mode) == 0o600
        assert stat.S_IMODE(os.lstat(place / "b").st_mode) == 0o666
        with pytest.raises(StoreUnavailable, match="in use"):
            collector.listen(f"unix://{place}/a")
        (place / "c").write_text("precious")
        with pytest.raises(ConfigError, match="no socket"):
            collector.listen(f"unix://{place}/c")
    assert sorted(os.listdir(place)) == ["c"]


def test_a_sender_is_told_what_is_kept(store, place):
    """With acks=1 the number of kept records comes back, and rises."""
    with Collector(store) as collector:
        collector.listen(f"unix://{place}/log?acks=1&format=lines")
        with local(place / "log") as sock:
            sock.sendall(b"one\ntwo\n")
            assert sock.recv(100) == b"2\n"
            store.gate.clear()
            sock.sendall(b"three\n")
            until(lambda: store.tries == 2)
            assert len(store.records) == 2
            store.gate.set()
            assert sock.recv(100) == b"3\n"
            sock.sendall(b"half a line")
            assert ended(sock) == b"4\n"


def test_a_stream_is_not_read_while_there_is_no_room(store):
    """A store that is held up holds up who sends; afterwards every line is there."""
    store.gate.clear()
    lines = 100_000
    with Collector(store, limits=Limits(queue_bytes=1 << 20)) as collector:
        port = collector.listen("syslog+tcp://127.0.0.1:0").port
        with connected(port) as sock:
            text = b"".join(
                b"<13>1 - host app - - - line %d %s\n" % (number, b"x" * 100) for number in range(lines)
            )
            sender = threading.Thread(target=sock.sendall, args=(text,))
            sender.start()
            until(lambda: store.tries)
            until(lambda: collector.counters().waiting_bytes > 1 << 19)
            assert collector.counters().waiting_bytes < 3 << 20
            assert sender.is_alive()  # of 14 MB, the kernel's buffers hold no more than half
            store.gate.set()
            with no_hang():
                sender.join(NEVER_S)
            ended(sock)
    assert len(store.messages) == lines and store.messages[-1].startswith(f"line {lines - 1} ")
    assert collector.counters().dropped == {}


def test_datagrams_without_room_are_dropped_and_counted(store, place):
    """Nobody waits: the sum of kept and dropped is what was sent, and the number is said."""
    store.gate.clear()
    with Collector(store, limits=Limits(queue_records=10)) as collector:
        collector.listen(f"unixgram://{place}/log")
        with local(place / "log", socket.SOCK_DGRAM) as sock:
            sock.send(b"<13>held")
            until(lambda: store.tries)
            for number in range(1_000):
                sock.send(b"<13>1 - host app - - - line %d" % number)
            until(lambda: collector.counters().dropped_total >= 900)
            store.gate.set()
    counters = collector.counters()
    assert counters.dropped_total + len(store.messages) == 1_001
    assert {reason for _, reason in counters.dropped} == {"the queue was full"}
    told = [record.fields["dropped"] for record in store.records if record.source == "vcache"]
    assert sum(map(int, told)) == counters.dropped_total


def test_a_peer_that_sends_more_than_its_rate(store):
    """Its datagrams beyond it are dropped and counted."""
    with Collector(store, limits=Limits(rate_per_s=0.001, burst=5)) as collector:
        port = collector.listen("syslog+udp://127.0.0.1:0").port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(20):
                sock.sendto(b"<13>1 - host app - - - line %d" % number, ("127.0.0.1", port))
    assert len(store.messages) == 5
    assert collector.counters().dropped == {(f"syslog+udp:{port}", "more than its rate"): 15}


def test_a_stream_that_sends_more_than_its_rate_is_read_more_slowly(store):
    """Nothing of it is lost."""
    with Collector(store, limits=Limits(rate_per_s=1_000, burst=10)) as collector:
        port = collector.listen("syslog+tcp://127.0.0.1:0").port
        with connected(port) as sock:
            sock.sendall(b"<13>1 - host app - - - line\n" * 200)
            ended(sock)
    assert len(store.messages) == 200 and collector.counters().dropped == {}


def test_a_line_without_an_end_does_not_hold_a_connection_for_ever(store):
    """It is kept as far as it came, and the connection is closed."""
    with Collector(store, limits=Limits(stall_s=0.05)) as collector:
        port = collector.listen("syslog+tcp://127.0.0.1:0").port
        with connected(port) as sock:
            sock.sendall(b"<13>1 - host app - - - this line has no")
            with no_hang():
                assert sock.recv(1) == b""
        assert store.messages == ["this line has no"]


def test_idle_connections_are_closed(store):
    """After the time that is allowed."""
    with Collector(store, limits=Limits(idle_s=0.05)) as collector:
        port = collector.listen("syslog+tcp://127.0.0.1:0").port
        with connected(port) as sock, no_hang():
            assert sock.recv(1) == b""


def test_connections_are_bounded(store):
    """One too many is closed at once, and counted; when another ends there is a place again."""
    with Collector(store, limits=Limits(connections=2)) as collector:
        port = collector.listen("syslog+tcp://127.0.0.1:0").port
        with connected(port) as first, connected(port) as second:
            with connected(port) as third:
                assert third.recv(1) == b""
            assert collector.counters().refused == 1
            ended(first)
            with connected(port) as fourth:
                fourth.sendall(b"<13>1 - host app - - - fourth\n")
                ended(fourth)
            second.sendall(b"<13>1 - host app - - - second\n")
            ended(second)
    assert store.messages == ["fourth", "second"]


def test_lines_without_end_share_a_bound(store):
    """Beyond it the connection with the longest is closed; what it sent is kept."""
    with Collector(store, limits=Limits(partial_bytes=1 << 20)) as collector:
        port = collector.listen("syslog+tcp://127.0.0.1:0").port
        with connected(port) as small, connected(port) as large:
            small.sendall(b"<13>1 - host app - - - small")
            large.sendall(b"<13>1 - host app - - - " + b"x" * (1 << 20))
            with no_hang():
                assert large.recv(1) == b""
            small.sendall(b" line\n")
            ended(small)
    assert sorted(map(len, store.messages)) == [10, 1 << 20]


def test_ten_megabytes_in_a_line_are_kept(store, place):
    """Whole."""
    with Collector(store) as collector:
        collector.listen(f"unix://{place}/log?format=lines")
        with local(place / "log") as sock:
            sock.sendall(b"x" * 10_000_000 + b"\nnext\n")
            ended(sock)
    assert list(map(len, store.messages)) == [10_000_000, 4]


def test_garbage_is_kept_as_it_came(store):
    """And marked; the listener goes on."""
    garbage = bytes(range(1, 256)) * 40
    with Collector(store) as collector:
        port = collector.listen("syslog+tcp://127.0.0.1:0").port
        with connected(port) as sock:
            sock.sendall(garbage + b"\n")
            ended(sock)
        with connected(port) as sock:
            sock.sendall(b"<13>1 - host app - - - fine\n")
            ended(sock)
    assert store.messages[-1] == "fine" and len(store.messages) > 1


def is_turned_away(context: ssl.SSLContext, plain: socket.socket) -> bool:
    """Whether a server ends the connection, as soon as TLS 1.3 lets a client know."""
    try:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            return sock.recv(1) == b""
    except OSError:
        return True


def test_tls(store, tmp_path):
    """With a certificate of ours; a client without one that we know is turned away if we ask for it."""
    made = certificates(tmp_path)
    spec = f"syslog+tls://127.0.0.1:0?cert={made.server}&key={made.server_key}"
    with Collector(store, limits=Limits(handshake_s=0.2)) as collector:
        context = ssl.create_default_context(cafile=str(made.authority))
        port = collector.listen(spec).port
        with connected(port) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            sock.sendall(b"<13>1 - host app - - - over tls %s\n" % (b"x" * 100_000) * 3)
            until(lambda: len(store.messages) == 3)
        port = collector.listen(f"{spec}&ca={made.authority}").port
        with connected(port) as plain:
            assert is_turned_away(context, plain)
        context.load_cert_chain(made.client, made.client_key)
        with connected(port) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            sock.sendall(b"<13>1 - host app - - - known\n")
            until(lambda: len(store.messages) == 4)
        with connected(port) as silent, no_hang():
            assert silent.recv(1) == b""  # it never shook hands
        with connected(port) as plain:
            plain.sendall(b"<13>no tls at all\n" * 100)
        assert collector.counters().refused >= 1


def test_tls_needs_a_certificate_that_can_be_read(store, tmp_path):
    """Said when the listener is made."""
    with Collector(store) as collector, pytest.raises(ConfigError, match="certificate"):
        collector.listen(f"syslog+tls://127.0.0.1:0?cert={tmp_path}/no.pem&key={tmp_path}/no.key")


def test_beyond_this_machine_only_on_demand(store):
    """Nobody listens at all addresses by accident."""
    with Collector(store) as collector:
        with pytest.raises(ConfigError, match="other machines"):
            collector.listen("syslog+udp://0.0.0.0:0")
        assert collector.listen("syslog+udp://0.0.0.0:0", is_exposed=True).port


def test_a_listener_can_be_closed_alone(store, place):
    """What came is kept; the others go on."""
    collector = Collector(store)
    first, second = collector.listen(f"unix://{place}/a"), collector.listen("syslog+udp://127.0.0.1:0")
    with local(place / "a") as sock:
        sock.sendall(b"hello\n")
        first.close()
        until(lambda: store.messages == ["hello"])
    with pytest.raises(FileNotFoundError), local(place / "a"):
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"<13>1 - h a - - - still", ("127.0.0.1", second.port))
    until(lambda: store.messages == ["hello", "still"])
    collector.close()
    with pytest.raises(StoreClosed):
        collector.listen("syslog+udp://127.0.0.1:0")


@pytest.mark.parametrize("receiver", [OneByOne, Together])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_datagrams_are_grouped_by_who_sent_them(receiver, family):
    """One by one or together: the same bytes, of the same peers, whole."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family, socket.SOCK_DGRAM) as sock, socket.socket(family, socket.SOCK_DGRAM) as sender:
        sock.bind((host, 0))
        sock.setblocking(False)
        datagrams = receiver(sock)
        assert datagrams.receive() == {}
        for _ in range(2):
            for data in (b"a", b"", b"x" * 60_000):
                sender.sendto(data, sock.getsockname())
            assert datagrams.receive() == {socket.inet_pton(family, host): [b"a", b"", b"x" * 60_000]}
        assert datagrams.cut == 0


@pytest.mark.parametrize("receiver", [OneByOne, Together])
def test_datagrams_of_a_unix_socket_come_with_credentials(receiver, place):
    """As the kernel has them; a datagram that is too long is counted."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(place / "log"))
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        datagrams = receiver(sock)
        with local(place / "log", socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            sender.send(b"a")
            ((peer, lines),) = datagrams.receive().items()
            assert lines == [b"a"] and int.from_bytes(peer[:4], "little") == os.getpid()
            sender.send(b"x" * 300_000)
            ((_, (line,)),) = datagrams.receive().items()
            assert len(line) == 1 << 18 and datagrams.cut == 1


def test_what_the_kernel_drops_is_counted(store):
    """A buffer that is full: the number is the socket's own."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        for _ in range(200):
            sender.sendto(b"x" * 100, sock.getsockname())
        taken = sum(map(len, OneByOne(sock).receive().values()))
        assert taken < 200 and kernel_drops(os.fstat(sock.fileno()).st_ino) == 200 - taken


def test_a_collector_closes_soon(store):
    """Whatever is open: connections that say nothing, and half lines, which are kept."""
    collector = Collector(store)
    port = collector.listen("syslog+tcp://127.0.0.1:0").port
    with connected(port), connected(port) as half, no_hang():
        half.sendall(b"<13>1 - host app - - - half")
        until(lambda: collector.counters().waiting == 0)
        started_s = time.monotonic()
        collector.close(NEVER_S)
        assert time.monotonic() - started_s < NEVER_S / 2
    assert store.messages == ["half"]


def test_a_store_that_is_late_is_no_fault_of_the_peers(store):
    """A half line that waits in the queue for longer than a peer may take over its end is waited for."""
    store.gate.clear()
    with Collector(store, limits=Limits(stall_s=0.3)) as collector:
        port = collector.listen("syslog+tcp://127.0.0.1:0").port
        with connected(port) as sock:
            sock.sendall(b"<13>1 - host app - - - first\n")
            until(lambda: store.tries)
            sock.sendall(b"<13>1 - host app - - - sec")
            until(lambda: collector.counters().waiting > 1)
            time.sleep(0.5)  # longer than `stall_s`: the time that passes is what this is about
            store.gate.set()
            sock.sendall(b"ond\n")
            ended(sock)
    assert store.messages == ["first", "second"] and collector.counters().dropped == {}


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_sender_that_never_stops_does_not_hold_up_the_end(store, kind):
    """The collector closes; over UDP nobody is left who counts, over TCP the sender sees the end."""
    is_over = threading.Event()
    collector = Collector(store)
    port = collector.listen(f"syslog+{kind}://127.0.0.1:0").port

    def send() -> None:
        with socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
        ) as sock:
            sock.connect(("127.0.0.1", port))
            try:
                while not is_over.is_set():
                    sock.sendall(b"<13>1 - host app - - - again and again\n")
            except OSError:
                pass

    sender = threading.Thread(target=send)
    sender.start()
    until(lambda: len(store.records) > 1_000)
    with no_hang():
        collector.close(NEVER_S)
        is_over.set()
        sender.join(NEVER_S)


def test_a_listener_that_is_closed_gives_its_receipts_first(store):
    """Its streams end when what they brought is kept, not when nobody listens any more."""
    store.gate.clear()
    with Collector(store) as collector:
        listening = collector.listen("syslog+tcp://127.0.0.1:0")
        with connected(listening.port) as sock:
            sock.sendall(b"<13>1 - host app - - - line\n")
            until(lambda: store.tries)
            closer = threading.Thread(target=listening.close)
            closer.start()
            sock.settimeout(0.1)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            sock.settimeout(60)
            store.gate.set()
            assert sock.recv(1) == b""
            assert store.messages == ["line"]
            closer.join()


def test_what_is_not_kept_has_no_receipt():
    """A store that fails until the collector gives up: streams are reset, not ended."""

    def fail(_: object) -> None:
        raise StoreFull("no space left")

    collector = Collector(ListedLogs(fail), limits=Limits(retry_most_s=0.01))
    with connected(collector.listen("syslog+tcp://127.0.0.1:0").port) as sock:
        sock.sendall(b"<13>1 - host app - - - line\n")
        sock.shutdown(socket.SHUT_WR)
        until(lambda: collector.counters().failing_since_ns)
        collector.close(0.05)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert collector.counters().dropped_total == 1
