"""A Redis server that is full, locked, a replica, gone, slow, or no Redis at all."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.conformance.test_redis import opened
from tests.patience import no_hang
from tests.servers import RedisServer, certified, free_port, redis_server
from vcache.entry import Key, Record, make_key
from vcache.errors import ConfigError, StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from vcache.kit.deadlines import Within, left_s
from vcache.store.base import Store
from vcache.store.objects import pack
from vcache.store.redis.store import MAX_VALUE_BYTES
from vcache.testing.records import body_of, make_record, named

KEY, RECORD = named("k")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    """A client that may change the server, which is as it was afterwards."""
    with redis.Redis(unix_socket_path=str(server.socket), username="default") as admin:
        yield admin
        admin.replicaof("NO", "ONE")
        admin.config_set("maxmemory", 0)
        admin.config_set("requirepass", "")
        admin.acl_deluser("guest")
        admin.flushall()


@pytest.fixture
def store(server: RedisServer, admin: redis.Redis) -> Iterator[Store]:
    store = opened(f"redis://127.0.0.1:{server.port}/0")
    yield store
    store.close()


# -- a real server in a bad state ------------------------------------------------------------------


def test_a_full_server_says_so(store: Store, admin: redis.Redis) -> None:
    """No memory left is StoreFull, one by one and in a batch; reading goes on."""
    store.put(KEY, RECORD)
    admin.config_set("maxmemory", 1)
    with pytest.raises(StoreFull, match="raise its maxmemory") as caught:
        store.put(KEY, make_record(KEY, b"newer"))
    assert not caught.value.retryable
    with pytest.raises(StoreFull):
        store.put_many({KEY: RECORD})  # type: ignore[attr-defined]
    found = store.get(KEY)
    assert found is not None
    assert found.body == RECORD.body


def test_a_replica_takes_no_writes(store: Store, admin: redis.Redis) -> None:
    """A replica is read, and what to do about writing is said; promoted, it is written."""
    store.put(KEY, RECORD)
    admin.replicaof("127.0.0.1", "1")
    assert store.get(KEY) is not None
    for work in (lambda: store.put(KEY, RECORD), lambda: store.delete(KEY)):
        with pytest.raises(StoreReadOnly, match="give the address of the primary"):
            work()
    admin.replicaof("NO", "ONE")
    store.put(KEY, RECORD)


def test_a_missing_and_a_wrong_password_are_told_apart(
    server: RedisServer, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is tried again, neither message has the password; the right one opens."""
    admin.config_set("requirepass", "correct horse")
    for login, words in (("", "it wants a password"), (":battery%20staple@", "no such user and password")):
        store = opened(f"redis://{login}127.0.0.1:{server.port}/0")
        with pytest.raises(StoreError, match=words) as caught:
            store.get(KEY)
        assert not caught.value.retryable
        assert "staple" not in str(caught.value) + repr(store.info)
        store.close()
    monkeypatch.setenv("REDIS_PW", "correct horse")
    for address in (
        f"redis://:correct%20horse@127.0.0.1:{server.port}",
        f"redis://127.0.0.1:{server.port}?password_env=REDIS_PW",
        f"redis+unix://default:correct%20horse@{server.socket}",
    ):
        store = opened(address)
        assert store.get(KEY) is None
        assert "horse" not in repr(store.info)
        store.close()


def test_a_user_without_rights_is_told_which(server: RedisServer, admin: redis.Redis) -> None:
    """What an ACL forbids is said with what the tier needs, and that is enough for all of it."""
    address = f"redis://guest:pw@127.0.0.1:{server.port}/1"
    admin.acl_setuser(
        "guest", enabled=True, passwords=["+pw"], keys=["vcache:*"], commands=["+mget", "+select"]
    )
    store = opened(address)
    assert store.get(KEY) is None
    with pytest.raises(StoreError, match="allow it MGET, SET, DEL, TOUCH, STRLEN, SCAN and DBSIZE"):
        store.put(KEY, RECORD)
    admin.acl_setuser("guest", commands=["+set", "+del", "+touch", "+strlen", "+scan", "+dbsize"])
    store.put_many({KEY: RECORD})  # type: ignore[attr-defined]
    assert set(store.get_many([KEY])) == {KEY}  # type: ignore[attr-defined]
    assert store.missing([KEY, make_key("absent")]) == {make_key("absent")}  # type: ignore[attr-defined]
    assert list(store.scan()) == [KEY]
    assert store.counters().entries == 1
    assert store.delete(KEY)
    store.close()


def test_a_database_that_is_not_there_is_named(server: RedisServer) -> None:
    """Redis has 16 databases unless it is told otherwise."""
    store = opened(f"redis://127.0.0.1:{server.port}/99")
    with pytest.raises(StoreError, match="give another /db") as caught:
        store.get(KEY)
    assert not caught.value.retryable
    store.close()


def test_other_values_under_our_names_are_misses(store: Store, admin: redis.Redis) -> None:
    """A list, junk, a cut object, another key's: absent, counted where they are bytes; a put replaces them."""
    other, record = named("other")
    start, body = pack(record)
    whole = start + bytes(body)
    for junk in (b"", b"junk", whole[:-20], whole):
        admin.set(b"vcache::" + KEY, junk)
        assert store.get(KEY) is None
        assert store.get_many([KEY, other]) == {}  # type: ignore[attr-defined]
    assert store.counters().corrupt == 8
    admin.delete(b"vcache::" + KEY)
    admin.rpush(b"vcache::" + KEY, b"item")
    assert store.get(KEY) is None
    assert store.counters().entries == 1
    store.put(KEY, RECORD)
    assert store.get(KEY) is not None


def test_prefixes_are_apart(server: RedisServer, admin: redis.Redis) -> None:
    """Caches in one database do not see each other's records, whatever their prefixes look like."""
    prefixes = ("", "a", "a*", "a?", "[a]", "\\a", "^a-z")
    stores = [opened(f"redis://127.0.0.1:{server.port}?prefix={prefix}") for prefix in prefixes]
    admin.set("foreign", "value")
    for number, store in enumerate(stores):
        for name in range(number + 1):
            store.put(*named(f"{name} *[?\\"))
    for number, store in enumerate(stores):
        assert len(set(store.scan())) == store.counters().entries == number + 1
        assert list(store.scan(make_key("1 *["))) == ([named("1 *[?\\")[0]] if number else [])
        store.close()


def test_a_prefix_has_no_colon(server: RedisServer) -> None:
    """With one, the prefix of one cache could run into the keys of another."""
    with pytest.raises(ConfigError, match="without colons"):
        opened(f"redis://127.0.0.1:{server.port}?prefix=a:b")


def test_records_are_forgotten_in_time(server: RedisServer, admin: redis.Redis) -> None:
    """`ttl` is the server's to keep, for single records and batches."""
    store = opened(f"redis://127.0.0.1:{server.port}?ttl=1h")
    other, record = named("other")
    store.put(KEY, RECORD)
    store.put_many({other: record})  # type: ignore[attr-defined]
    for key in (KEY, other):
        assert 3_590_000 < admin.pttl(b"vcache::" + key) <= 3_600_000
    store.close()
    with pytest.raises(ConfigError, match="keeps nothing"):
        opened("redis://127.0.0.1?ttl=0")


def test_many_keys_are_counted_by_a_sample(store: Store, admin: redis.Redis) -> None:
    """In a large database numbers are estimated, within a tenth."""
    store.put_many(dict(named(str(number)) for number in range(9000)))  # type: ignore[attr-defined]
    exact = store.counters()
    assert exact.entries == 9000
    with admin.pipeline(transaction=False) as pipe:
        for number in range(18_000):
            pipe.set(f"foreign {number}", "value")
        pipe.execute()
    counters = store.counters()
    assert counters.entries == pytest.approx(9000, rel=0.1)
    assert counters.size_bytes == pytest.approx(exact.size_bytes, rel=0.1)


def test_what_redis_cannot_keep_is_refused(store: Store) -> None:
    """Above 512 MB nothing is sent, and the remedy is named."""
    record = make_record(KEY)
    record.body = bytes(MAX_VALUE_BYTES)
    with pytest.raises(StoreError, match="Redis keeps 512 MB in one value"):
        store.put(KEY, record)


def test_a_fork_has_connections_of_its_own(store: Store) -> None:
    """Parent and child ask at the same time, and each gets its own answers."""
    pairs = dict(named(f"k{number}") for number in range(50))
    store.put_many(pairs)  # type: ignore[attr-defined]

    def all_right() -> bool:
        return all(store.get(key).head == record.head for _ in range(20) for key, record in pairs.items())  # type: ignore[union-attr]

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if all_right() else 1
        finally:
            os._exit(status)
    assert all_right()
    assert os.waitpid(pid, 0)[1] == 0


def test_a_restarted_server_is_found_again(tmp_path: Path) -> None:
    """While it is gone there is StoreUnavailable; afterwards connections are made anew, unasked."""
    with redis_server(tmp_path) as server:
        store = opened(f"redis+unix://{server.socket}")
        store.put(KEY, RECORD)
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as caught:
            store.get(KEY)
        assert caught.value.retryable
    with redis_server(tmp_path):
        assert store.get(KEY) is None
        store.put(KEY, RECORD)
        assert store.get(KEY) is not None
    store.close()


# -- TLS -------------------------------------------------------------------------------------------


def test_a_certificate_has_to_be_trusted_and_of_the_name(tmp_path: Path) -> None:
    """Neither a strange certificate nor one of another name is taken."""
    certified(tmp_path / "other.crt")
    with redis_server(tmp_path, tls=True) as server:
        for address in (
            f"rediss://localhost:{server.port}",
            f"rediss://localhost:{server.port}?ca={tmp_path / 'other.crt'}",
            f"rediss://127.1:{server.port}?ca={server.ca}",
        ):
            store = opened(address)
            with pytest.raises(StoreError, match="name the one to trust: ca=FILE") as caught:
                store.get(KEY)
            assert not caught.value.retryable
            store.close()
        store = opened(f"redis://localhost:{server.port}")
        with pytest.raises(StoreUnavailable):
            store.get(KEY)
        store.close()
        store = opened(f"rediss://127.0.0.1:{server.port}?ca={server.ca}")
        store.put(KEY, make_record(KEY, body_of(3 << 20)))
        found = store.get(KEY)
        assert found is not None
        assert found.body == body_of(3 << 20)
        store.close()


def test_files_of_certificates_are_checked_at_once(tmp_path: Path) -> None:
    """A missing file, or one without TLS, is a mistake of the address."""
    with pytest.raises(ConfigError, match="No such file"):
        opened(f"rediss://localhost?ca={tmp_path / 'none'}")
    with pytest.raises(ConfigError, match="rediss: only"):
        opened("redis://localhost?ca=x")


# -- servers that are none -------------------------------------------------------------------------

Handler = Callable[[socket.socket, list[bytes], threading.Event], object]


@contextmanager
def pretending(handle: Handler) -> Iterator[Store]:
    """A store whose server answers as a function does; the handshake it takes kindly."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                while line := stream.readline():
                    command = [stream.read(int(stream.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]
                    if command[0] in {b"CLIENT", b"SELECT", b"HELLO", b"AUTH"}:
                        connection.sendall(b"+OK\r\n")
                    else:
                        handle(connection, command, over)
            except (OSError, ValueError):
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    threads.append(threading.Thread(target=accept))
    threads[0].start()
    store = opened(f"redis://127.0.0.1:{listener.getsockname()[1]}")
    try:
        yield store
    finally:
        over.set()
        store.close()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join()


def says(*pieces: bytes, then_ends: bool = False) -> Handler:
    def handle(connection: socket.socket, _: list[bytes], __: threading.Event) -> None:
        for piece in pieces:
            connection.sendall(piece)
        if then_ends:
            connection.shutdown(socket.SHUT_RDWR)

    return handle


def answer_of(record: Record) -> bytes:
    value = b"".join(pack(record))
    return b"*1\r\n$%d\r\n%b\r\n" % (len(value), value)


def drips(connection: socket.socket, _: list[bytes], over: threading.Event) -> None:
    connection.sendall(b"*1\r\n$100000\r\n")
    while not over.wait(0.01):
        connection.sendall(b"x")


def is_silent(connection: socket.socket, _: list[bytes], over: threading.Event) -> None:
    over.wait()


@pytest.mark.parametrize("handle", [drips, is_silent])
def test_a_deadline_holds_however_slowly_bytes_come(handle: Handler) -> None:
    """A server that says nothing, or a byte now and then, is left at the deadline, and not before."""
    with pretending(handle) as store, no_hang(), Within(0.3, rate_bytes=1e6):
        with pytest.raises(StoreUnavailable):
            store.get(KEY)
        assert left_s(10) < 0.1


def test_a_server_that_reads_nothing_is_left_at_the_deadline() -> None:
    """A put ends in time when the other side has stopped reading."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        store = opened(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(StoreUnavailable), Within(0.3):
            store.put(KEY, make_record(KEY, bytes(20 << 20)))
        store.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"*1\r\n$99999999999\r\n",
        b"*2\r\n$-1\r\n$-1\r\n",
        b"*-1\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n$-1\r\n",
        b"\x16\x03\x01\x00\x00",
    ],
)
def test_what_is_no_redis_is_a_fault(answer: bytes) -> None:
    """An answer of another protocol, or to another question, is StoreUnavailable and nothing else."""
    with pretending(says(answer, then_ends=True)) as store, pytest.raises(StoreUnavailable):
        store.get(KEY)


@pytest.mark.parametrize(
    "answer", [b"*1\r\n:5\r\n", b"*1\r\n*0\r\n", b"*1\r\n$4\r\njunk\r\n", b"*1\r\n-ERR no\r\n"]
)
def test_values_that_are_no_objects_are_misses(answer: bytes) -> None:
    """A number, a list or an error in the place of an object is absent and counted."""
    with pretending(says(answer)) as store:
        assert store.get(KEY) is None
        assert store.get_many([KEY]) == {}  # type: ignore[attr-defined]
        assert store.damaged.count == 2  # type: ignore[attr-defined]


def test_a_connection_lost_in_an_answer_is_a_fault() -> None:
    """Cut at any byte, nothing of the answer is used, and the next operation begins anew."""
    whole = answer_of(RECORD)
    cut = [0]

    def handle(connection: socket.socket, command: list[bytes], over: threading.Event) -> None:
        says(whole[: cut[0]], then_ends=cut[0] < len(whole))(connection, command, over)

    with pretending(handle) as store:
        for cut[0] in range(0, len(whole), 7):
            with pytest.raises(StoreUnavailable):
                store.get(KEY)
        cut[0] = len(whole)
        found = store.get(KEY)
        assert found is not None
        assert found.head == RECORD.head


def test_answers_do_not_come_to_the_wrong_question() -> None:
    """A server that answers once more than it was asked is not believed the second time."""
    other, record = named("other")

    def value(key: Key) -> bytes:
        return answer_of({KEY: RECORD, other: record}[key])

    def handle(connection: socket.socket, command: list[bytes], over: threading.Event) -> None:
        connection.sendall(value(command[1].removeprefix(b"vcache::")) + value(KEY))

    with pretending(handle) as store:
        for _ in range(3):
            assert store.get(KEY) is not None
            found = store.get(other)
            assert found is None or found.head == record.head


@pytest.mark.parametrize(
    ("answer", "kind", "retryable"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", StoreUnavailable, True),
        (b"-BUSY Redis is busy running a script\r\n", StoreUnavailable, True),
        (b"-MASTERDOWN Link with MASTER is down\r\n", StoreUnavailable, True),
        (b"-CLUSTERDOWN The cluster is down\r\n", StoreUnavailable, True),
        (b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", StoreUnavailable, True),
        (b"-ERR max number of clients reached\r\n", StoreUnavailable, True),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", StoreError, False),
        (b"-NOAUTH Authentication required.\r\n", StoreError, False),
        (b"-WRONGPASS invalid username-password pair\r\n", StoreError, False),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", StoreFull, False),
        (b"-OOM command not allowed\r\n", StoreFull, False),
        (b"-READONLY You can't write against a read only replica.\r\n", StoreReadOnly, False),
        (b"-ERR unknown command 'MGET'\r\n", StoreError, False),
    ],
)
def test_each_refusal_is_of_its_kind(answer: bytes, kind: type[StoreError], retryable: bool) -> None:
    """Whether trying again helps is what a guard goes by; the server's own words are in the message."""
    with pretending(says(answer)) as store, pytest.raises(StoreError) as caught:
        store.get(KEY)
    assert type(caught.value) is kind
    assert caught.value.retryable is retryable
    assert answer[1:-2].decode() in str(caught.value)


def test_nobody_there_is_a_fault() -> None:
    """A closed port, a missing socket and an unknown host do not answer: all within the deadline."""
    for address in (
        f"redis://127.0.0.1:{free_port()}",
        "redis+unix:///nowhere/redis.sock",
        "redis://nowhere.invalid",
    ):
        store = opened(address)
        with no_hang(), pytest.raises(StoreUnavailable, match="does not answer"), Within(1):
            store.get(KEY)
        store.close()


def test_opening_asks_nobody() -> None:
    """A remote that is down is met by the first operation, not by the address."""
    opened("redis://127.0.0.1:1").close()
