"""A build and a remote that is down, slow, lying or half-open: real sockets, real processes."""

from __future__ import annotations

import os
import random
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.faults.crew import Child, Gate
from tests.patience import until
from tests.servers import RawRequest, raw_http
from vcache.entry import Key, make_key
from vcache.store import objects
from vcache.store.base import Store
from vcache.store.guard import GuardedStore, remotes
from vcache.store.url import open_store
from vcache.testing import FakeClock, make_record
from vcache.testing.records import named

DEADLINE_S = 0.6
LOOK_UPS = 1000


class Shelf:
    """A server that keeps what is put, by path.

    Attributes:
        kept: bodies by path.
        puts: how often each path was put.
        pause_s: before each answer.
        tamper: makes of a body what is answered.
    """

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.puts: Counter[str] = Counter()
        self.pause_s = 0.0
        self.tamper: Callable[[bytes], bytes] | None = None
        self._lock = threading.Lock()  # guards the two tables

    def __call__(self, connection: socket.socket, request: RawRequest) -> bool:
        method, path, _ = request.line.split(" ", 2)
        time.sleep(self.pause_s)
        status, body = "404 Not Found", b""
        with self._lock:
            if method == "PUT":
                self.puts[path] += 1
                self.kept[path] = request.body
                status = "201 Created"
            elif method == "DELETE" and self.kept.pop(path, None) is not None:
                status = "204 No Content"
            elif method in ("GET", "HEAD") and path in self.kept:
                status, body = "200 OK", self.kept[path]
        if self.tamper is not None:
            body = self.tamper(body)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        connection.sendall(head + (b"" if method == "HEAD" else body))
        return True

    def keep(self, key: Key, body: bytes) -> None:
        """Have a record."""
        self.kept[path_of(key)] = b"".join(bytes(part) for part in objects.pack(make_record(key, body)))

    def body(self, key: Key) -> bytes | None:
        """The body of a record that was put."""
        found = self.kept.get(path_of(key))
        return None if found is None else bytes(objects.unpack(key, found).body)


def path_of(key: Key) -> str:
    return f"/base/vcache/{objects.name_of(key)}"


def opened(
    address: str, directory: Path, clock: Callable[[], int] = time.time_ns, **options: object
) -> GuardedStore:
    """The store at an address, with its state below a directory."""
    options = {"deadline": f"{DEADLINE_S}s", "state": directory / "state", **options}
    query = "&".join(f"{name}={value}" for name, value in options.items())
    store: Store = open_store(f"{address}/base?{query}", clock=clock)
    assert isinstance(store, GuardedStore)
    return store


# -- remotes that do not serve ---------------------------------------------------------------------


def hang(connection: socket.socket, _: RawRequest) -> bool:
    connection.recv(1)  # until the client or the test closes it
    return False


def drip(connection: socket.socket, _: RawRequest) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def drip_head(connection: socket.socket, _: RawRequest) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def half_answer(connection: socket.socket, request: RawRequest) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nvcr\x01")
    return hang(connection, request)


def cut_off(connection: socket.socket, _: RawRequest) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nvcr\x01")
    return False


def reset(connection: socket.socket, _: RawRequest) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return False


def overloaded(connection: socket.socket, _: RawRequest) -> bool:
    connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    return True


def no_http(connection: socket.socket, _: RawRequest) -> bool:
    connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46" * 100)
    return False


@contextmanager
def half_open() -> Iterator[str]:
    """A port whose queue is full: connections are neither taken nor refused."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    for each in (listener, *fillers):
        each.close()


@contextmanager
def refused() -> Iterator[str]:
    """A port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@contextmanager
def scripted(script: Callable[[socket.socket, RawRequest], bool]) -> Iterator[str]:
    with raw_http(script) as server:
        yield server.address


SICK = {
    "hang": lambda: scripted(hang),
    "drip": lambda: scripted(drip),
    "drip_head": lambda: scripted(drip_head),
    "half_answer": lambda: scripted(half_answer),
    "cut_off": lambda: scripted(cut_off),
    "reset": lambda: scripted(reset),
    "overloaded": lambda: scripted(overloaded),
    "no_http": lambda: scripted(no_http),
    "half_open": half_open,
    "refused": refused,
}


def build(address: str, directory: Path, report: int) -> None:
    """As many look-ups as a warm build of a thousand nodes makes, and some puts."""
    store = opened(address, directory, flush="0s")
    for number in range(LOOK_UPS):
        assert store.get(make_key(f"node {number}")) is None
        if number % 100 == 0:
            store.put(*named(f"made {number}"))
    store.close()
    os.write(report, b"%d" % (LOOK_UPS - store.telemetry().unasked))


@pytest.mark.parametrize("sickness", sorted(SICK))
def test_a_sick_remote_costs_one_deadline_in_all(sickness: str, tmp_path: Path) -> None:
    """Four builds one after the other, each in its process: the first finds out, the others know.

    No look-up fails, and what was put waits.
    """
    with SICK[sickness]() as address:
        asked = [int(Child(lambda report: build(address, tmp_path, report)).finish(60)) for _ in range(4)]
    # One look-up has waited. It was for a deadline at most: some of these servers never end an answer.
    assert asked == [1, 0, 0, 0]
    (found,) = remotes(tmp_path / "state")
    assert found.breaker.is_open
    assert found.waiting > 0


def test_a_remote_that_comes_back_is_used_again(tmp_path: Path) -> None:
    """After the time of the breaker: what waited is sent, what is there is found."""
    shelf, clock = Shelf(), FakeClock()
    key = make_key("there")
    shelf.keep(key, b"content")
    is_up = False

    def script(connection: socket.socket, request: RawRequest) -> bool:
        return shelf(connection, request) if is_up else overloaded(connection, request)

    with raw_http(script) as server:
        store = opened(server.address, tmp_path, clock)
        assert store.get(key) is None
        store.put(*named("waits"))
        assert store.trouble()
        asked = len(server.requests)
        assert [store.get(key) for _ in range(100)] == [None] * 100
        assert len(server.requests) == asked
        is_up = True
        clock.advance(16)
        until(lambda: store.get(key) is not None)
        until(lambda: shelf.body(named("waits")[0]) == named("waits")[1].body)
        store.close()


def test_a_liar_is_never_believed(tmp_path: Path) -> None:
    """Whatever bit of an answer is wrong, the record is absent, and the server is not asked for long."""
    shelf = Shelf()
    for number in range(60):
        shelf.keep(make_key(f"{number}"), b"content %d" % number)

    def flip(body: bytes) -> bytes:
        at = random.Random(len(server.requests)).randrange(len(body))
        return body[:at] + bytes((body[at] ^ 1 << at % 8,)) + body[at + 1 :]

    with raw_http(shelf) as server:
        shelf.tamper = flip
        store = opened(server.address, tmp_path)
        for number in range(60):
            assert store.get(make_key(f"{number}")) is None
        assert store.counters().corrupt == 5
        assert len(server.requests) == 5
        store.close()


def test_no_build_waits_for_puts(tmp_path: Path) -> None:
    """Of a server that takes its time for each put, closing waits for a few of them; the rest is sent later."""
    shelf = Shelf()
    shelf.pause_s = 0.3
    with raw_http(shelf) as server:
        store = opened(server.address, tmp_path, flush="0.2s", negative="0")
        for number in range(30):
            store.put(*named(f"{number}"))
        store.close()
        assert len(shelf.kept) < 30
        shelf.pause_s = 0
        store = opened(server.address, tmp_path)
        store.get(make_key("anything"))
        until(lambda: len(shelf.kept) == 30)
        store.close()


# -- processes -------------------------------------------------------------------------------------


def put_for_ever(address: str, directory: Path, turn: int, report: int) -> None:
    """Put new keys, and one over and over again; say which puts have returned."""
    store = opened(address, directory)
    for number in range(100_000):
        key, record = named(f"{turn}/{number}")
        store.put(key, record)
        counter = make_key("counter")
        store.put(counter, make_record(counter, b"%09d" % (turn * 1_000_000 + number)))
        os.write(report, b"%d\n" % number)


def test_killed_while_it_puts(tmp_path: Path) -> None:
    """SIGKILL at any moment: whatever put has returned arrives, by this process or the next, in order."""
    shelf, dice = Shelf(), random.Random(4)
    shelf.pause_s = 0.002
    with raw_http(shelf) as server:
        acknowledged: dict[int, int] = {}
        for turn in range(1, 6):
            child = Child(partial(put_for_ever, server.address, tmp_path, turn))
            said = b""
            count = dice.randrange(1, 60)
            while said.count(b"\n") < count:
                said += os.read(child.reports, 4096)
            child.kill()
            said += child.read()
            acknowledged[turn] = said.count(b"\n")
        store = opened(server.address, tmp_path)
        store.get(make_key("anything"))
        (state,) = (tmp_path / "state").iterdir()
        until(lambda: not [name for name in os.listdir(state / "spool") if not name.startswith(".")])
        store.close()
    for turn, count in acknowledged.items():
        for number in range(count):
            key, record = named(f"{turn}/{number}")
            assert shelf.body(key) == record.body
    last = shelf.body(make_key("counter"))
    assert last is not None
    assert int(last) >= 5_000_000 + acknowledged[5] - 1


def test_one_process_sends_at_a_time(tmp_path: Path) -> None:
    """Four processes that put at the same time: everything arrives, and nothing twice."""
    shelf = Shelf()
    shelf.pause_s = 0.001

    def work(gate: Gate, number: int, _: int) -> None:
        gate.wait()
        store = opened(server.address, tmp_path, flush="20s")
        for each in range(40):
            store.put(*named(f"{number}/{each}"))
        store.close()

    with raw_http(shelf) as server:
        with Gate() as gate:
            children = [Child(partial(work, gate, number)) for number in range(4)]
        for child in children:
            child.finish(30)
        store = opened(server.address, tmp_path)
        store.get(make_key("anything"))
        until(lambda: len(shelf.kept) == 160)
        store.close()
    assert set(shelf.puts.values()) == {1}


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    """A file that cannot be written whole costs the record, not the build, and leaves no part behind."""

    def work(report: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        store = opened(server.address, tmp_path)
        for number in range(5):
            store.put(make_key(f"{number}"), make_record(make_key(f"{number}"), bytes(20_000)))
        store.put(*named("small"))
        store.close()
        os.write(report, b"%d" % store.telemetry().dropped)

    shelf = Shelf()
    with raw_http(shelf) as server:
        assert Child(work).finish(20) == b"5"
    assert shelf.body(named("small")[0]) == named("small")[1].body
    (state,) = (tmp_path / "state").iterdir()
    assert os.listdir(state / "spool") == []
