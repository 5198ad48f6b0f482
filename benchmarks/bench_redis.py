"""Records on a Redis server on this machine, against redis-py with the same names and bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.connection import DefaultParser

from benchmarks.measure import Scale, take_turns
from benchmarks.result import Compare, Row
from tests.servers import redis_server
from vcache.entry import Key, make_key
from vcache.store.address import Options, parse_url
from vcache.store.objects import pack
from vcache.store.redis import RedisStore, open_url
from vcache.testing.records import body_of, make_record

TITLE = "redis"

_KEYS = 1000


def run(scale: Scale, directory: Path) -> list[Row]:
    """Ours verifies each head by BLAKE3 and makes records of it; redis-py hands bytes out."""
    with (
        redis_server(directory / "server") as server,
        redis.Redis(port=server.port) as peer,
        opened(f"redis://127.0.0.1:{server.port}") as store,
    ):
        return [*_many(scale, store, peer), *_single(scale, store, peer)]


@contextmanager
def opened(address: str) -> Iterator[RedisStore]:
    url = parse_url(address)
    store = open_url(url, Options(url))
    assert isinstance(store, RedisStore)
    try:
        yield store
    finally:
        store.close()


def _many(scale: Scale, store: RedisStore, peer: redis.Redis) -> list[Row]:
    records = {
        (key := make_key(f"{number:04}")): make_record(key, body_of(1024, seed=number))
        for number in range(_KEYS)
    }
    names: dict[Key, bytes] = {key: b"vcache::" + key for key in records}
    values = {names[key]: b"".join(pack(record)) for key, record in records.items()}

    def set_all(_: object) -> None:
        with peer.pipeline(transaction=False) as pipe:
            for name, value in values.items():
                pipe.set(name, value)
            pipe.execute()

    def exists_all(_: object) -> None:
        with peer.pipeline(transaction=False) as pipe:
            for name in values:
                pipe.exists(name)
            pipe.execute()

    keys = list(records)
    note = f"redis-py reads with {DefaultParser.__name__.strip('_')}"
    return [
        _row(
            scale, f"get_many of {_KEYS} records of 1 KB", "MGET",
            lambda _: store.get_many(keys), lambda _: peer.mget(list(values)), bound=1.5, note=note,
            before=lambda: store.put_many(records),
        ),
        _row(
            scale, f"put_many of {_KEYS} records of 1 KB", "SET, pipelined",
            lambda _: store.put_many(records), set_all,
        ),
        _row(
            scale, f"missing, of {_KEYS} that are there", "EXISTS, pipelined",
            lambda _: store.missing(keys), exists_all,
        ),
    ]  # fmt: skip


def _single(scale: Scale, store: RedisStore, peer: redis.Redis) -> list[Row]:
    rows = []
    for label, size_bytes, calls in (("1 KB", 1024, 500), ("1 MB", 1 << 20, 50), ("100 MB", 100 << 20, 1)):
        key = make_key(label)
        record = make_record(key, body_of(size_bytes if not scale.is_smoke else 1024))
        name, value = b"vcache::" + key, b"".join(pack(record))
        count = scale.pick(calls, 1)
        rows += [
            _row(
                scale, f"get of {label}", "GET", lambda _, key=key: store.get(key),  # type: ignore[misc]
                lambda _, name=name: peer.get(name), calls=count,  # type: ignore[misc]
                before=lambda key=key, record=record: store.put(key, record),  # type: ignore[misc]
            ),
            _row(
                scale, f"put of {label}", "SET",
                lambda _, key=key, record=record: store.put(key, record),  # type: ignore[misc]
                lambda _, name=name, value=value: peer.set(name, value), calls=count,  # type: ignore[misc]
            ),
        ]  # fmt: skip
    return rows


def _row(
    scale: Scale,
    what: str,
    peer_name: str,
    ours: Callable[[object], object],
    peers: Callable[[object], object],
    *,
    bound: float | None = None,
    calls: int = 10,
    note: str = "",
    before: Callable[[], object] = lambda: None,
) -> Row:
    before()
    arguments: Sequence[object] = [None] * scale.pick(calls, 1)
    sides = {"vcache": ours, peer_name: peers}
    figures = take_turns(sides, lambda _: arguments, rounds=scale.rounds)
    return Row(what, Compare.WITHIN, "µs", figures["vcache"], figures[peer_name], bound, note=note)
