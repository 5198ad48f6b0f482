"""Records in a bucket of Ceph's S3 on this machine, against boto3 with the same names and bytes.

A smoke run takes moto, which starts in a second and is no server to be measured.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.measure import Scale, take_turns
from benchmarks.result import Compare, Row
from tests.ceph import ceph_gateway
from tests.servers import S3Server, moto_server
from vcache.entry import Key, Record, make_key
from vcache.store.address import Options, parse_url
from vcache.store.objects import name_of, pack
from vcache.store.s3 import S3Store, open_url
from vcache.testing.records import body_of, make_record

TITLE = "S3"

_KEYS = 1000
_THREADS = 16


def run(scale: Scale, directory: Path) -> list[Row]:
    """Ours verifies each head by BLAKE3, and signs what it sends in full; boto3 hands bytes out."""
    with (
        moto_server() if scale.is_smoke else ceph_gateway() as server,
        _environment(server),
        _opened(f"s3://bench/p?endpoint={server.endpoint}&region=us-east-1") as store,
    ):
        peer = _client(server)
        peer.create_bucket(Bucket="bench")
        return [*_many(scale, store, peer), *_single(scale, store, peer)]


def _many(scale: Scale, store: S3Store, peer: Any) -> list[Row]:
    records = {
        (key := make_key(f"{number:04}")): make_record(key, body_of(1024, seed=number))
        for number in range(scale.pick(_KEYS, 20))
    }
    names = {f"p/{name_of(key)}": b"".join(pack(record)) for key, record in records.items()}
    keys = list(records)
    store.put_many(records)
    assert len(store.get_many(keys)) == len(keys)
    fresh = _Fresh(records)

    def get(name: str) -> bytes:
        content: bytes = peer.get_object(Bucket="bench", Key=name)["Body"].read()
        return content

    def get_in_threads(_: object) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(get, names))

    def put_all(_: object) -> None:
        for name, content in names.items():
            peer.put_object(Bucket="bench", Key=name, Body=content)

    def head_all(_: object) -> None:
        for name in names:
            peer.head_object(Bucket="bench", Key=name)

    def get_all(_: object) -> None:
        for name in names:
            get(name)

    def get_many(_: object) -> None:
        store.get_many(keys)

    of = f"{_KEYS} records of 1 KB"
    return [
        _row(scale, f"get_many of {of}", "get_object, one by one", get_many, get_all, bound=8.0),
        _row(scale, f"get_many of {of}", f"get_object, {_THREADS} threads", get_many, get_in_threads),
        _row(
            scale, f"put_many of {of}, new ones", "put_object, one by one",
            lambda _: store.put_many(fresh()), put_all,
        ),
        _row(
            scale, f"missing, of {_KEYS} that are there", "head_object, one by one",
            lambda _: store.missing(keys), head_all,
        ),
    ]  # fmt: skip


def _single(scale: Scale, store: S3Store, peer: Any) -> list[Row]:
    rows = []
    for label, size_bytes, calls in (("1 KB", 1024, 100), ("1 MB", 1 << 20, 20), ("64 MB", 64 << 20, 1)):
        key = make_key(label)
        record = make_record(key, body_of(size_bytes if not scale.is_smoke else 1024))
        name, content = f"p/{name_of(key)}", b"".join(pack(record))
        store.put(key, record)
        fresh = _Fresh({key: record})
        count = scale.pick(calls, 1)

        def get(_: object, name: str = name) -> None:
            peer.get_object(Bucket="bench", Key=name)["Body"].read()

        def put(_: object, name: str = name, content: bytes = content) -> None:
            peer.upload_fileobj(io.BytesIO(content), "bench", name)

        rows += [
            _row(
                scale, f"get of {label}", "get_object",
                lambda _, key=key: store.get(key), get, calls=count,  # type: ignore[misc]
            ),
            _row(
                scale, f"put of {label}, a new one", "upload_fileobj",
                lambda _, fresh=fresh: store.put_many(fresh()), put, calls=count,  # type: ignore[misc]
            ),
        ]  # fmt: skip
    return rows


class _Fresh:
    """Records that were never put: an equal one would not be sent again."""

    def __init__(self, records: Mapping[Key, Record]) -> None:
        self._bodies = [bytes(record.body) for record in records.values()]
        self._count = 0

    def __call__(self) -> Mapping[Key, Record]:
        self._count += 1
        fresh = {}
        for number, body in enumerate(self._bodies):
            key = make_key(f"fresh {self._count} {number}")
            fresh[key] = make_record(key, body)
        return fresh


def _row(
    scale: Scale,
    what: str,
    peer_name: str,
    ours: Callable[[object], object],
    peers: Callable[[object], object],
    *,
    bound: float | None = None,
    calls: int = 1,
) -> Row:
    arguments: Sequence[object] = [None] * scale.pick(calls, 1)
    sides = {"vcache": ours, peer_name: peers}
    figures = take_turns(sides, lambda _: arguments, rounds=min(scale.rounds, 7), once=True)
    return Row(what, Compare.FASTER, "µs", figures["vcache"], figures[peer_name], bound)


@contextmanager
def _opened(address: str) -> Iterator[S3Store]:
    url = parse_url(address)
    store = open_url(url, Options(url))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _environment(server: S3Server) -> Iterator[None]:
    names = {"AWS_ACCESS_KEY_ID": server.access, "AWS_SECRET_ACCESS_KEY": server.secret}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _client(server: S3Server) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=_THREADS),
    )
