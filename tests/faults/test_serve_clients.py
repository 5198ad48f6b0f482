"""Clients that are slow, greedy, confused or hostile: they are shown out, and the others are served."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.native import Wire, an_object
from tests.servers import vcache_serve, wait_until

pytestmark = pytest.mark.e2e

IMPATIENT = {
    "VCACHE_SERVE_HEAD": "1s",
    "VCACHE_SERVE_STALL": "2s",
    "VCACHE_SERVE_IDLE": "4s",
    "VCACHE_SERVE_RATE": "10kB",
    "VCACHE_SERVE_LIMIT": "200MB",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with vcache_serve(tmp_path_factory.mktemp("serve") / "store", env=IMPATIENT) as server:
        yield server


@pytest.fixture
def wire(server):
    with Wire(server.port) as wire:
        yield wire


class TestSlow:
    def test_a_head_that_takes_too_long_is_refused(self, server, wire):
        wire.socket.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n")
        for _ in range(40):  # a header now and then: each byte in time, the head never
            time.sleep(0.1)
            try:
                wire.socket.sendall(b"x-slow: y\r\n")
            except OSError:
                break
        with contextlib.suppress(ConnectionError):
            assert wire.answer().status == 408
        assert wire.is_closed()

    def test_a_body_that_trickles_ends_its_connection_and_leaves_nothing(self, server, wire):
        name, data = an_object("trickling", 100_000)
        wire.send("PUT", f"/vcache/{name}", data[:100], {"content-length": str(len(data))})
        with contextlib.suppress(OSError):
            for byte in range(100, 200):
                time.sleep(0.1)
                wire.socket.sendall(data[byte : byte + 1])
        assert wire.is_closed()
        with Wire(server.port) as other:
            assert other.ask("GET", f"/vcache/{name}").status == 404
        assert not list((server.directory / "server" / "uploads").iterdir())

    def test_a_body_that_comes_steadily_is_waited_for(self, wire):
        name, data = an_object("steady", 60_000)
        wire.send("PUT", f"/vcache/{name}", b"", {"content-length": str(len(data))})
        for start in range(0, len(data), 3000):
            time.sleep(0.15)
            wire.socket.sendall(data[start : start + 3000])
        assert wire.answer().status == 201

    def test_who_does_not_read_its_answer_is_let_go(self, server, wire):
        name, data = an_object("unread", 60_000_000)
        assert wire.ask("PUT", f"/vcache/{name}", data).status == 201
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.port))
        deaf.sendall(f"GET /vcache/{name} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        wait_until(lambda: _connections(server.port) <= 2, "it is let go", timeout_s=20)
        deaf.close()

    def test_a_connection_without_requests_is_closed(self, wire):
        assert wire.ask("GET", "/healthz").status == 200
        assert wire.is_closed()


class TestGreedy:
    def test_a_head_without_end_is_refused(self, wire):
        with contextlib.suppress(ConnectionError):
            wire.socket.sendall(b"GET / HTTP/1.1\r\n")
            for _ in range(100):
                wire.socket.sendall(b"x-more: " + b"y" * 4000 + b"\r\n")
        with contextlib.suppress(ConnectionError):
            assert wire.answer().status == 431

    def test_a_thousand_headers_are_refused(self, wire):
        headers = {f"x-{n}": "y" for n in range(1000)}
        assert wire.ask("GET", "/healthz", None, headers).status == 431

    def test_a_body_above_the_limit_is_refused_before_it_comes(self, wire):
        wire.send("PUT", "/vcache/00ff", b"", {"content-length": "300000000"})
        assert wire.answer().status == 413

    def test_who_sends_its_refused_body_all_the_same_still_reads_why(self, wire):
        wire.send("PUT", "/vcache/00ff", b"", {"content-length": "300000000"})
        with contextlib.suppress(OSError):
            for _ in range(50):
                wire.socket.sendall(b"x" * 100_000)
        answer = wire.answer()
        assert answer.status == 413
        assert answer.headers["connection"] == "close"

    def test_a_small_refused_body_does_not_cost_the_connection(self, wire):
        assert wire.ask("PUT", "/vcache/-/nothing", b"x" * 50_000).status == 404
        assert wire.ask("GET", "/healthz").status == 200

    def test_a_body_of_chunks_above_the_limit_is_cut_off(self, wire):
        wire.send("POST", "/vcache/-/missing", None, {"transfer-encoding": "chunked"})
        with contextlib.suppress(OSError):
            for _ in range(60):
                wire.socket.sendall(b"10000\r\n" + b"0" * 65536 + b"\r\n")
        assert wire.answer().status == 413

    @pytest.mark.parametrize(("size_bytes", "status"), [(100 << 20, 400), (1 << 30, 413)])
    def test_a_name_that_stands_for_much_is_unpacked_within_bounds(self, wire, size_bytes: int, status: int):
        """A bomb: a kilobyte that claims to be much is no object; above the limit it is not even looked at."""
        from vcache.entry import Encoding, Entry, Record, make_key
        from vcache.store.objects import name_of, pack

        entry = Entry(make_key("bomb"), bytes(32), size_bytes, encoding=Encoding.LZ4, created_ns=1)
        head, body = pack(Record(entry.encode(), b"\x1f" + b"\xff" * 1000))
        answer = wire.ask("PUT", f"/vcache/{name_of(entry.key)}", head + bytes(body))
        assert answer.status == status


class TestConfused:
    @pytest.mark.parametrize(
        "request_",
        [
            b"nonsense\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PUT /vcache/00ff HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello",
            b"PUT /vcache/00ff HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
            b"PUT /vcache/00ff HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
            b"PUT /vcache/00ff HTTP/1.1\r\ncontent-length: 1_0\r\n\r\n",
        ],
    )
    def test_what_is_no_request_is_refused(self, wire, request_):
        wire.socket.sendall(request_)
        assert wire.answer().status == 400
        assert wire.is_closed()

    def test_a_client_that_asks_first_is_told_to_go_on(self, wire):
        name, data = an_object("asked first", 50_000)
        headers = {"content-length": str(len(data)), "expect": "100-continue"}
        wire.send("PUT", f"/vcache/{name}", b"", headers)
        assert wire.answer().status == 100
        wire.socket.sendall(data)
        assert wire.answer().status == 201

    def test_a_client_that_asks_first_is_told_no(self, wire):
        wire.send("PUT", "/vcache/00ff", b"", {"content-length": "300000000", "expect": "100-continue"})
        assert wire.answer().status == 413

    def test_requests_in_one_packet_are_answered_in_order(self, wire):
        name, data = an_object("pipelined", 1000)
        wire.ask("PUT", f"/vcache/{name}", data)
        asked = f"GET /vcache/{name} HTTP/1.1\r\nhost: a\r\n\r\n"
        wire.socket.sendall((asked + "GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n" + asked).encode() * 20)
        for _ in range(20):
            assert [wire.answer().body for _ in range(3)] == [data, b"ready\n", data]

    def test_http_1_0_is_answered_and_closed(self, wire):
        wire.socket.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert wire.answer().body == b"alive\n"
        assert wire.is_closed()

    def test_half_a_connection_gets_its_answer(self, wire):
        wire.socket.sendall(b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n")
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.answer().body == b"ready\n"

    def test_an_offer_of_another_protocol_is_passed_over(self, wire):
        name, data = an_object("upgrading", 2000)
        offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAM"}
        assert wire.ask("PUT", f"/vcache/{name}", data, offer).status == 201
        assert wire.ask("GET", f"/vcache/{name}", None, offer).body == data
        assert wire.ask("GET", f"/vcache/{name}").body == data

    def test_a_client_that_hangs_up_leaves_nothing(self, server):
        name, data = an_object("hung up", 3_000_000)
        with Wire(server.port) as wire:
            wire.send("PUT", f"/vcache/{name}", data[:2_000_000], {"content-length": str(len(data))})
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with Wire(server.port) as other:
            assert other.ask("GET", f"/vcache/{name}").status == 404
        wait_until(lambda: not list((server.directory / "server" / "uploads").iterdir()), "nothing is left")


def _connections(port: int) -> int:
    with Wire(port) as wire:
        text = wire.ask("GET", "/metrics").body.decode()
    line = next(line for line in text.splitlines() if line.startswith("vcache_server_connections "))
    return int(float(line.split()[1]))


class TestManyConnections:
    def test_2000_idle_connections_leave_healthy_clients_served(self, tmp_path):
        _allow_descriptors(5000)
        name, data = an_object("healthy")
        with vcache_serve(tmp_path / "store") as server, contextlib.ExitStack() as stack:
            idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2000)]
            for connection in idle:
                stack.callback(connection.close)
            for connection in idle[:500]:  # and a quarter of them sends a head that never ends
                connection.sendall(b"GET / HTTP/1.1\r\nx-a: b")
            with Wire(server.port) as wire:
                assert wire.ask("PUT", f"/vcache/{name}", data).status == 201
                for _ in range(300):
                    assert wire.ask("GET", f"/vcache/{name}").body == data
            assert _connections(server.port) > 1500

    def test_beyond_the_most_the_longest_idle_go(self, tmp_path):
        with (
            vcache_serve(tmp_path / "store", env={"VCACHE_SERVE_CONNECTIONS": "50"}) as server,
            contextlib.ExitStack() as stack,
        ):
            wires = [stack.enter_context(Wire(server.port)) for _ in range(51)]
            assert wires[0].is_closed()
            assert wires[50].ask("GET", "/readyz").status == 200
            assert wires[1].ask("GET", "/readyz").status == 200

    def test_large_transfers_do_not_hold_up_small_ones(self, tmp_path):
        """While 100 MB go in and out, many small GETs are answered: none waits for the end of a transfer."""
        large, large_data = an_object("large", 100_000_000)
        small, small_data = an_object("small")
        with vcache_serve(tmp_path / "store") as server, Wire(server.port) as wire:
            assert wire.ask("PUT", f"/vcache/{small}", small_data).status == 201
            is_over = threading.Event()

            def move() -> None:
                with Wire(server.port, timeout_s=60) as mover:
                    try:
                        for _ in range(2):
                            assert mover.ask("PUT", f"/vcache/{large}", large_data).status in (201, 204)
                            assert mover.ask("GET", f"/vcache/{large}").body == large_data
                    finally:
                        is_over.set()

            n_answered = 0
            with ThreadPoolExecutor(1) as pool:
                moved = pool.submit(move)
                while not is_over.is_set():
                    assert wire.ask("GET", f"/vcache/{small}").body == small_data
                    n_answered += 1
                moved.result()
        assert n_answered > 40, "four transfers, and no more than a few answers beside each"

    def test_a_large_value_is_in_memory_once_however_many_take_it(self, tmp_path):
        """Thirty clients that stop half way through 50 MB cost the server next to nothing of its own."""
        name, data = an_object("large", 50_000_000)
        with vcache_serve(tmp_path / "store") as server, contextlib.ExitStack() as stack:
            with Wire(server.port) as wire:
                assert wire.ask("PUT", f"/vcache/{name}", data).status == 201
                assert wire.ask("GET", f"/vcache/{name}").body == data
                before_mb = _own_memory_mb(server.process.pid)
                wires = [stack.enter_context(Wire(server.port, timeout_s=60)) for _ in range(30)]
                for one in wires:
                    one.send("GET", f"/vcache/{name}")
                    assert not one.is_closed()  # the answer has begun
                assert _own_memory_mb(server.process.pid) - before_mb < 60
            for one in wires:
                assert one.answer().body == data

    def test_64_clients_get_and_put_without_an_error(self, tmp_path):
        """Nine GETs to one PUT, all at once: every byte is right."""
        objects = [an_object(f"shared {n}", 20_000 if n % 5 else 400_000) for n in range(40)]
        with vcache_serve(tmp_path / "store") as server:
            with Wire(server.port) as wire:
                for name, data in objects:
                    assert wire.ask("PUT", f"/vcache/{name}", data).status == 201

            def client(number: int) -> int:
                with Wire(server.port) as wire:
                    for turn in range(20):
                        name, data = objects[(number * 7 + turn * 3) % len(objects)]
                        if turn % 10 == 9:
                            name, data = an_object(f"own {number} {turn}", 30_000)
                            assert wire.ask("PUT", f"/vcache/{name}", data).status == 201
                        assert wire.ask("GET", f"/vcache/{name}").body == data
                return number

            with ThreadPoolExecutor(64) as pool:
                assert list(pool.map(client, range(64))) == list(range(64))


def _own_memory_mb(pid: int) -> float:
    """What a process has in memory beside mapped files."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1000


def _allow_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
    assert os.sysconf("SC_OPEN_MAX") >= count
