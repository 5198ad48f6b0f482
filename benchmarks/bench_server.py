"""`vcache serve` against nginx: both are asked by vcache's HTTP tier, which verifies what it gets."""

from __future__ import annotations

import random
import re
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Scale, take_turns
from benchmarks.result import Compare, Figure, Row, Spread
from tests.e2e.native import Wire, an_object
from tests.servers import VcacheServer, nginx, vcache_serve
from vcache.entry import Key, Record, make_key
from vcache.store.address import Options, parse_url
from vcache.store.base import Store
from vcache.store.http.opening import open_url
from vcache.testing.records import body_of, make_record

TITLE = "vcache serve"

_CLIENTS = 64
_SECONDS = 60
_SHARED = 200


def run(scale: Scale, directory: Path) -> list[Row]:
    """GETs and PUTs of one client, then many clients at once."""
    env = {"VCACHE_SERVE_LEASE": "0s"}
    with (
        vcache_serve(directory / "store", "--max", "3GB", env=env) as server,
        nginx(directory / "nginx") as peer,
        _opened(server.url) as ours,
        _opened(peer) as theirs,
    ):
        return [*_gets(scale, ours, theirs), _puts(scale, ours, theirs), *_mixed(scale, server)]


@contextmanager
def _opened(address: str) -> Iterator[Store]:
    url = parse_url(address)
    store = open_url(url, Options(url))
    try:
        yield store
    finally:
        store.close()


def _gets(scale: Scale, ours: Store, theirs: Store) -> list[Row]:
    rows = []
    for label, size_bytes, calls, bound in (
        ("1 KB", 1000, 300, 2.0), ("1 MB", 1_000_000, 20, 1.5), ("100 MB", 100_000_000, 1, 1.5),
    ):  # fmt: skip
        key = make_key(label)
        record = make_record(key, body_of(size_bytes if not scale.is_smoke else 1000))
        for store in (ours, theirs):
            store.put(key, record)
            assert store.get(key) is not None
        figures = take_turns(
            {"vcache": ours.get, "nginx": theirs.get},
            lambda _, key=key, calls=calls: [key] * scale.pick(calls, 1),  # type: ignore[misc]
            rounds=scale.rounds,
        )
        rows.append(Row(f"GET {label}", Compare.WITHIN, "µs", figures["vcache"], figures["nginx"], bound))
    return rows


def _puts(scale: Scale, ours: Store, theirs: Store) -> Row:
    def put(store: Store) -> Callable[[tuple[Key, Record]], object]:
        return lambda item: store.put(item[0], item[1])

    def fresh(number: int) -> Sequence[tuple[Key, Record]]:
        size_bytes = scale.pick(1_000_000, 1000)
        keys = [make_key(f"put {number} {turn}") for turn in range(scale.pick(20, 1))]
        return [(key, make_record(key, random.randbytes(size_bytes))) for key in keys]

    figures = take_turns(
        {"vcache": put(ours), "nginx": put(theirs)},
        fresh,
        rounds=scale.rounds,
        once=True,
    )
    note = "vcache compares the content with its BLAKE3; nginx renames a file"
    return Row("PUT 1 MB, published", Compare.WITHIN, "µs", figures["vcache"], figures["nginx"], 1.5, note)


class _Client:
    """One of many: nine GETs to one PUT, each answer compared.

    All are driven by one thread: as threads they would mostly wait for each other's turn to run.
    """

    def __init__(self, number: int, port: int, objects: Sequence[tuple[str, bytes]]) -> None:
        self._number, self._objects = number, objects
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._dice = random.Random(number)
        self._turn = 0
        self.took_ms: list[float] = []
        self.wrong = 0
        self.errors = 0

    def ask(self) -> None:
        """Send the next request."""
        self._turn += 1
        name, self._data = self._dice.choice(self._objects)
        self._is_put = self._turn % 10 == 0
        head = f"GET /vcache/{name} HTTP/1.1\r\nhost: a\r\n\r\n".encode()
        if self._is_put:
            size_bytes = self._dice.choice((1000, 10_000, 100_000))
            name, self._data = an_object(f"{self._number} {self._turn}", size_bytes)
            length = len(self._data)
            head = f"PUT /vcache/{name} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n".encode()
            head += self._data
        self._got = bytearray()
        self._started_s = time.perf_counter()
        self.socket.sendall(head)

    def take(self) -> bool:
        """Take in what came; whether the answer is complete."""
        data = self.socket.recv(1 << 18)
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", self._got[: max(0, end)])
        if data and (end < 0 or length is None or len(self._got) < end + 4 + int(length[1])):
            return False
        self.took_ms.append((time.perf_counter() - self._started_s) * 1e3)
        if not data or not self._got.startswith(b"HTTP/1.1 201" if self._is_put else b"HTTP/1.1 200"):
            self.errors += 1
        elif not self._is_put and memoryview(self._got)[end + 4 :] != self._data:
            self.wrong += 1
        return True


def _mixed(scale: Scale, server: VcacheServer) -> list[Row]:
    objects = [an_object(f"shared {n}", (1000, 4000, 20_000, 100_000)[n % 4]) for n in range(_SHARED)]
    with Wire(server.port) as wire:
        for name, data in objects:
            wire.ask("PUT", f"/vcache/{name}", data)
    seconds = scale.pick(_SECONDS, 1)
    clients = [_Client(number, server.port, objects) for number in range(_CLIENTS)]
    early_mb = _drive(clients, server, seconds)
    late_mb = _memory_mb(server)
    took_ms = [one for client in clients for one in client.took_ms]
    spread = Spread.of(took_ms)

    def alone(what: str, unit: str, value: float, bound: float | None) -> Row:
        return Row(what, Compare.ALONE, unit, Figure("vcache", (value,), spread), None, bound)

    who = f"{_CLIENTS} clients, 90 % GET, 10 % PUT, {seconds} s"
    return [
        alone(f"{who}: errors", "", sum(client.errors for client in clients), 0),
        alone(f"{who}: wrong bytes", "", sum(client.wrong for client in clients), 0),
        alone(f"{who}: p99", "ms", spread.p99, 100),
        alone(f"{who}: requests", "op/s", len(took_ms) / seconds, None),
        Row(
            f"{who}: memory at the end, beyond that after a third", Compare.PLUS, "MB",
            Figure("at the end", (late_mb,)), Figure("after a third", (early_mb,)), 32,
            note="without mapped files; a collection and a larger index take a step each, once",
        ),
    ]  # fmt: skip


def _drive(clients: Sequence[_Client], server: VcacheServer, seconds: float) -> float:
    """Have all clients ask for so long; the server's memory after a third of it."""
    early_mb = 0.0
    started_s = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.ask()
        while (elapsed_s := time.monotonic() - started_s) < seconds:
            if not early_mb and elapsed_s > seconds / 3:
                early_mb = _memory_mb(server)
            for key, _ in selector.select(1):
                if key.data.take():
                    key.data.ask()
    for client in clients:
        client.socket.close()
    return early_mb


def _memory_mb(server: VcacheServer) -> float:
    """What the server's process has of its own, mapped files not counted."""
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("the kernel does not say RssAnon")
