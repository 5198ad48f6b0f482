"""The S3 tier and Ceph's RADOS Gateway, a server that many run: what no mock shows."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ceph import ceph_gateway
from tests.conformance import at_address
from tests.conformance.in_buckets import bucket_of
from tests.servers import S3Server, wait_until
from vcache import Cache
from vcache.entry import make_key
from vcache.errors import StoreError, StoreUnavailable
from vcache.kit.clock import system_clock
from vcache.kit.deadlines import Within
from vcache.store.address import Options, parse_url
from vcache.store.objects import name_of
from vcache.store.s3 import S3Store
from vcache.store.s3.address import place_of
from vcache.testing.records import body_of, make_record, named

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

KEY, RECORD = named("key")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with ceph_gateway() as server:
        yield server


@pytest.fixture(scope="module")
def client(server: S3Server) -> Any:
    """boto3, to look behind the store's back."""
    return bucket_of(server)


@pytest.fixture(autouse=True)
def _credentials(server: S3Server, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret)


@pytest.fixture
def address(server: S3Server, request: pytest.FixtureRequest) -> str:
    return f"s3://bucket/{request.node.name}?endpoint={server.endpoint}&region=us-east-1"


def opened(address: str) -> S3Store:
    store = at_address.opened(address)
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def store(address: str) -> Iterator[S3Store]:
    store = opened(address)
    yield store
    store.close()


def body_in(store: S3Store, key: bytes) -> bytes:
    record = store.get(key)
    assert record is not None
    return bytes(record.body)


def test_its_conditions_are_found_and_used(store, client, request):
    """It enforces `If-None-Match`: an equal record is not kept again, another one takes its place."""
    assert store.takes_conditions is None
    store.put(KEY, RECORD)
    name = f"{request.node.name}/{name_of(KEY)}"
    before = client.head_object(Bucket="bucket", Key=name)
    store.put(KEY, make_record(KEY, bytes(RECORD.body), created_ns=7))
    assert store.takes_conditions is True
    after = client.head_object(Bucket="bucket", Key=name)
    assert (after["ETag"], after["LastModified"]) == (before["ETag"], before["LastModified"])
    store.put(KEY, make_record(KEY, b"other"))
    assert body_in(store, KEY) == b"other"


@pytest.mark.parametrize("size_bytes", [(16 << 20) - 200, 16 << 20, 50 << 20])
def test_large_bodies_go_in_parts_and_once(store, client, size_bytes):
    """Its mark of an object in parts is what is computed here: an equal one is not sent again."""
    key = make_key(str(size_bytes))
    record = make_record(key, body_of(size_bytes))
    store.put(key, record)
    assert body_in(store, key) == record.body
    name = client.list_objects_v2(Bucket="bucket", Prefix=store._place.prefix)["Contents"][0]["Key"]
    before = client.head_object(Bucket="bucket", Key=name)
    store.put(key, make_record(key, body_of(size_bytes), created_ns=7))
    after = client.head_object(Bucket="bucket", Key=name)
    assert after["LastModified"] == before["LastModified"]
    assert ("-" in before["ETag"]) == (size_bytes >= 16 << 20)
    assert client.list_multipart_uploads(Bucket="bucket").get("Uploads", []) == []


def test_an_upload_that_runs_out_of_time_leaves_no_parts(store, client):
    """The parts are removed though the deadline has passed, and what was there is intact."""
    store.put(KEY, RECORD)
    large = make_record(KEY, body_of(64 << 20))
    with Within(0.15), pytest.raises(StoreUnavailable):
        store.put(KEY, large)
    wait_until(lambda: not client.list_multipart_uploads(Bucket="bucket").get("Uploads"), "parts are removed")
    assert body_in(store, KEY) == RECORD.body


def test_a_damaged_object_is_replaced(store, client, request):
    """One that was overwritten with other bytes of the same length is not taken for an equal one."""
    store.put(KEY, RECORD)
    name = f"{request.node.name}/{name_of(KEY)}"
    content = bytearray(client.get_object(Bucket="bucket", Key=name)["Body"].read())
    content[-1] ^= 1
    client.put_object(Bucket="bucket", Key=name, Body=bytes(content))
    store.put(KEY, RECORD)
    assert body_in(store, KEY) == RECORD.body
    client.put_object(Bucket="bucket", Key=name, Body=bytes(content[:50]))
    assert store.get(KEY) is None
    assert store.counters().corrupt == 1


def test_a_wrong_secret_is_said(store, monkeypatch, address):
    """With what to set; the secret is not in the message."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    wrong = opened(address)
    for work in (lambda: wrong.get(KEY), lambda: wrong.put(KEY, RECORD), lambda: list(wrong.scan())):
        with pytest.raises(StoreError, match="AWS_SECRET_ACCESS_KEY") as caught:
            work()
        assert not caught.value.retryable
        assert "hush-hush" not in str(caught.value)


def test_an_unknown_key_is_said(monkeypatch, address):
    """As is an access key that the server does not know."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOBODY")
    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID"):
        opened(address).get(KEY)


def test_an_absent_bucket_is_said(address):
    """By each operation, also by those whose answers have no words."""
    store = opened(address.replace("//bucket", "//no-such-bucket"))
    for work in (
        lambda: store.get(KEY),
        lambda: store.put(KEY, RECORD),
        lambda: store.missing([KEY]),
        lambda: store.delete(KEY),
        lambda: list(store.scan()),
    ):
        with pytest.raises(StoreError, match="create it, or correct the address"):
            work()


@pytest.mark.parametrize("skew_s", [-7200, 7200])
def test_a_wrong_clock_is_mended(address, skew_s):
    """The server's own time is taken from its refusal."""
    url = parse_url(address)
    store = S3Store(place_of(url, Options(url)), clock=lambda: system_clock() + skew_s * 10**9)
    assert store.missing([KEY]) == {KEY}
    store.put(KEY, RECORD)
    assert body_in(store, KEY) == RECORD.body


def test_a_session_that_ended_is_taken_up_again(store, monkeypatch, server):
    """Credentials that were replaced meanwhile are used for the same request."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "GONE")
    late = opened(store.info.url)
    with pytest.raises(StoreError):
        late.get(KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access)
    late.put(KEY, RECORD)
    assert body_in(late, KEY) == RECORD.body


def test_many_listed_and_absent(store):
    """More names than a page has, of which some are absent: no question for each."""
    keys = [make_key(f"{number:05}") for number in range(2500)]
    store.put_many({key: make_record(key) for key in keys[::2]})
    assert sorted(store.scan()) == sorted(keys[::2])
    assert store.missing(keys) == set(keys[1::2])
    assert set(store.get_many(keys)) == set(keys[::2])


def test_writers_of_one_name_do_not_disturb_each_other(store):
    """Eight threads overwrite large and small records: every put succeeds, every get gives a whole one."""
    versions = [make_record(KEY, body_of(size, seed=size)) for size in (100, 5000, 2 << 20, 17 << 20)]
    bodies = {bytes(version.body) for version in versions}
    failures: list[BaseException] = []
    store.put(KEY, versions[0])

    def write(version: int) -> None:
        try:
            for _ in range(4):
                store.put(KEY, versions[version])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number % 4,)) for number in range(8)]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        try:
            record = store.get(KEY)
        except StoreUnavailable:  # a range of what is being replaced: the guard asks again
            continue
        if record is not None:
            seen.add(bytes(record.body))
    for thread in threads:
        thread.join()
    assert failures == []
    assert seen <= bodies
    assert body_in(store, KEY) in bodies


def test_a_cache_over_it(address, tmp_path: Path):
    """Two checkouts share what one of them made, through the guard, its spool and all."""
    script = tmp_path / "use.py"
    script.write_text(
        "import sys\nfrom vcache import Cache\n"
        "with Cache('disk:' + sys.argv[1], sys.argv[2]) as cache:\n"
        "    print(cache.get_or_compute('k', lambda: print('made') or [1, 'two']))\n"
    )
    said = [
        subprocess.run(
            [sys.executable, str(script), str(tmp_path / name), address],
            env={**os.environ, "VCACHE_DIR": str(tmp_path / "state")},
            capture_output=True, text=True, check=True,
        ).stdout
        for name in ("one", "two")
    ]  # fmt: skip
    assert said == ["made\n[1, 'two']\n", "[1, 'two']\n"]
    with Cache(f"disk:{tmp_path}/three", address) as cache:
        assert cache.get("k") == [1, "two"]
