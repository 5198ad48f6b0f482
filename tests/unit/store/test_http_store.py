"""Records on HTTP servers of several kinds: what is asked of each, and what its answers mean."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.servers import RawRequest, RawServer, raw_http
from vcache.entry import Key, Record, make_key
from vcache.errors import StoreClosed, StoreError, StoreFull, StoreUnavailable
from vcache.store.address import Options, parse_url
from vcache.store.http import open_url
from vcache.store.http.store import HttpStore
from vcache.store.objects import frame, frames, joined, name_of, pack, unpack
from vcache.testing.records import make_record, named

Reply = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, RawRequest], Reply]
"""From method, target below the base, and request to status, headers and body."""


@contextmanager
def serving(handler: Handler, options: str = "") -> Iterator[tuple[HttpStore, RawServer]]:
    def script(connection: socket.socket, request: RawRequest) -> bool:
        method, target, _ = request.line.split()
        status, headers, body = handler(method, target.removeprefix("/base"), request)
        rows = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\n{rows}Content-Length: {len(body)}\r\n\r\n".encode()
        connection.sendall(head + (b"" if method == "HEAD" else body))
        return True

    with raw_http(script) as server:
        url = parse_url(f"{server.address}/base{options}")
        store = open_url(url, Options(url))
        assert isinstance(store, HttpStore)
        try:
            yield store, server
        finally:
            store.close()


def lines(server: RawServer) -> list[str]:
    """What was asked, as method and target."""
    return [request.line.removesuffix(" HTTP/1.1") for request in server.requests]


def whole(record: Record) -> bytes:
    return b"".join(map(bytes, pack(record)))


class Own:
    """vcache's own server in a few lines."""

    def __init__(self, *, unknown: int | None = None, page: int = 3) -> None:
        self.objects: dict[str, bytes] = {}
        self.unknown = unknown  # what it answers to its own calls
        self.page = page
        self.refusals = b""

    def __call__(self, method: str, target: str, request: RawRequest) -> Reply:
        status, headers, body = self.reply(method, target.removeprefix("/vcache/"), request.body)
        return status, {"Server": "vcache/9.9", **headers}, body

    def reply(self, method: str, name: str, body: bytes) -> Reply:
        if not name.startswith("-/"):
            return self.single(method, name, body)
        if self.unknown is not None:
            return self.unknown, {}, b""
        call = urlsplit(name[2:])
        names = body.decode("ascii", "replace").split()
        if call.path == "get":
            found = (unpack(None, self.objects[each]) for each in names if each in self.objects)
            return 200, {}, joined(map(frame, found))
        if call.path == "missing":
            return 200, {}, "".join(f"{each}\n" for each in names if each not in self.objects).encode()
        if call.path == "put":
            if not self.refusals:
                for data in frames(body):
                    self.objects[name_of(unpack(None, data).entry().key)] = bytes(data)
            return 200, {}, self.refusals
        query = {key: value[0] for key, value in parse_qs(call.query).items()}
        start, after = query.get("prefix", ""), query.get("after", "")
        listed = sorted(each for each in self.objects if each.startswith(start) and each > after)
        more = {"X-Next": listed[self.page - 1]} if len(listed) > self.page else {}
        return 200, more, "".join(f"{each}\n" for each in listed[: self.page]).encode()

    def single(self, method: str, name: str, body: bytes) -> Reply:
        if method == "PUT":
            self.objects[name] = body
            return 201, {}, b""
        if name not in self.objects:
            return 404, {}, b""
        return 200, {}, self.objects[name]


RECORDS = dict(named(f"k{number}") for number in range(10))


def test_nonsense_is_not_taken_for_presence() -> None:
    """An answer that names what nobody asked for tells nothing of what is there: a push would leave it out."""
    for nonsense in (b"<html>please log in</html>", b"ab" * 20 + b"\n", b"\xff\n"):

        def portal(method: str, target: str, request: RawRequest, body: bytes = nonsense) -> Reply:
            return 200, {"Server": "vcache/9.9"}, body

        with serving(portal) as (store, _), pytest.raises(StoreUnavailable):
            store.missing(list(RECORDS))


def test_a_batch_is_one_call_to_our_own_server() -> None:
    """once the server has said who it is, batches are its calls; the first learns it by one look"""
    with serving(Own()) as (store, server):
        store.put_many(RECORDS)
        assert dict(store.get_many(list(RECORDS))).keys() == RECORDS.keys()
        assert store.missing([*RECORDS, make_key("absent")]) == {make_key("absent")}
        assert lines(server) == [
            "HEAD /base/vcache/00",
            "POST /base/vcache/-/put",
            "POST /base/vcache/-/get",
            "POST /base/vcache/-/missing",
        ]


def test_a_single_key_is_a_single_request() -> None:
    """nobody is asked in batches of one, and no look is taken before"""
    key, record = named("k")
    with serving(Own()) as (store, server):
        store.put(key, record)
        store.put_many({key: record})
        assert store.get_many([key])[key].body == record.body
        name = name_of(key)
        assert lines(server) == [f"PUT /base/vcache/{name}"] * 2 + [f"GET /base/vcache/{name}"]


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_that_knows_no_batches_is_asked_once(status: int) -> None:
    """an older server answers single requests, and its lack is remembered"""
    with serving(Own(unknown=status)) as (store, server):
        for _ in range(2):
            store.put_many(RECORDS)
            assert dict(store.get_many(list(RECORDS))).keys() == RECORDS.keys()
            assert store.missing(list(RECORDS)) == set()
        assert [line for line in lines(server) if "/-/" in line] == ["POST /base/vcache/-/put"]


@pytest.mark.parametrize(
    ("refusals", "kind"),
    [
        (b"006b30 507\n", StoreFull),
        (b"006b30 413\n", StoreFull),
        (b"006b30 400\n", StoreError),
        (b"006b30 503\n", StoreUnavailable),
        (b"rubbish\n", StoreUnavailable),
        (b"006b30 \xb2\n", StoreUnavailable),
    ],
)
def test_a_refused_record_of_a_batch_is_an_error(refusals: bytes, kind: type[StoreError]) -> None:
    """what the server took is kept, what it refused is said"""
    own = Own()
    own.refusals = refusals
    with serving(own) as (store, _), pytest.raises(kind):
        store.put_many(RECORDS)


def test_a_batch_beyond_the_limit_is_halved() -> None:
    """keys whose records do not fit into one answer come in several"""
    body = b"x" * (3 << 20)
    records = {key: make_record(key, body) for key in RECORDS}
    with serving(Own(), "?limit=1MB") as (store, server):
        for key, record in records.items():
            store.put(key, record)
        assert dict(store.get_many(list(records))).keys() == records.keys()
        assert 1 < len([line for line in lines(server) if line.endswith("/-/get")]) < 20


def test_keys_come_in_pages() -> None:
    """a listing is asked for until it ends, with the prefix that names have"""
    own = Own(page=3)
    with serving(own) as (store, server):
        store.put_many(RECORDS)
        assert sorted(store.scan()) == sorted(RECORDS)
        assert sorted(store.scan(b"\0sk1")) == [make_key("k1")]
        assert list(store.scan(b"\0sk" + b"x" * 300)) == []
        assert store.info.is_listed
        listings = [line for line in lines(server) if "/-/list" in line]
        assert listings[0].endswith("list?prefix=&after=")
        assert listings[1].endswith(f"list?prefix=&after={name_of(make_key('k2'))}")
        assert len(listings) == 4 + 1 + 1
        assert all(len(line) < 300 for line in listings)
        assert not any(line.startswith("PROPFIND") for line in lines(server))


def test_whether_a_server_lists_is_asked_once() -> None:
    """what knows no PROPFIND is not listed; `info` asks when somebody wants to know, and once"""
    with serving(lambda method, *_: (405 if method == "PROPFIND" else 404, {}, b"")) as (store, server):
        info = store.info
        assert server.requests == []
        assert [info.is_listed, info._replace(name="x").is_listed, store.info.is_listed] == [False] * 3
        with pytest.raises(StoreError, match="lists nothing"):
            list(store.scan())
        with pytest.raises(StoreError, match="lists nothing"):
            list(store.entries())
        assert len(server.requests) == 2
        assert info._replace(is_listed=True).is_listed


def test_a_directory_to_come_is_listed() -> None:
    """where the directory is missing, the one above it tells whether there is WebDAV"""

    def handler(method: str, target: str, request: RawRequest) -> Reply:
        return (207 if method == "PROPFIND" and request.line.split()[1] == "/" else 404), {}, b"<a/>"

    with serving(handler) as (store, server):
        assert store.info.is_listed
        assert list(store.scan()) == []
        assert [line for line in lines(server) if line.startswith("PROPFIND")] == [
            "PROPFIND /base/vcache/", "PROPFIND /base/", "PROPFIND /", "PROPFIND /base/vcache/",
        ]  # fmt: skip


def test_a_server_that_fails_is_not_asked_all_the_time() -> None:
    """whether a server lists that does not answer is not known, and nobody waits for it again soon"""
    with serving(lambda *_: (503, {}, b"")) as (store, server):
        assert [store.info.is_listed for _ in range(5)] == [False] * 5
        assert len(server.requests) == 2
        with pytest.raises(StoreUnavailable):
            list(store.scan())


def test_a_missing_directory_is_made() -> None:
    """409 to a PUT makes the directories from the top, once, and tries again"""
    made: list[str] = []

    def handler(method: str, target: str, request: RawRequest) -> Reply:
        path = request.line.split()[1]
        if method == "MKCOL":
            made.append(path)
        is_made = "/base/vcache/" in made
        return (201 if method == "MKCOL" or is_made else 409), {}, b""

    with serving(handler) as (store, server):
        store.put_many(RECORDS)
        store.put_many(RECORDS)
        assert made == ["/base/", "/base/vcache/"]
        assert sum(line.startswith("PUT") for line in lines(server)) == 30


def test_a_conflict_that_stays_is_an_error() -> None:
    """a server that makes no directory is not asked for ever"""
    with serving(lambda *_: (409, {}, b"no")) as (store, server):
        with pytest.raises(StoreError, match="409 to PUT"):
            store.put(*named("k"))
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("status", "result"), [(200, True), (202, True), (204, True), (404, False), (410, False)]
)
def test_what_a_delete_says(status: int, result: bool) -> None:
    """every success is one, and absence is none"""
    with serving(lambda *_: (status, {}, b"")) as (store, _):
        assert store.delete(make_key("k")) is result


@pytest.mark.parametrize("status", [400, 401, 403, 405, 301, 503])
def test_other_answers_are_errors(status: int) -> None:
    """each operation says what the server answered, and to what"""
    key, record = named("k")
    with serving(lambda *_: (status, {}, b"")) as (store, _):
        calls: list[tuple[str, Callable[[], object]]] = [
            ("GET", lambda: store.get(key)),
            ("PUT", lambda: store.put(key, record)),
            ("DELETE", lambda: store.delete(key)),
            ("GET", lambda: store.get_many([key, make_key("b")])),
            ("HEAD", lambda: store.missing([key])),
            ("PUT", lambda: store.put_many({key: record, make_key("b"): make_record(make_key("b"))})),
            ("GET", lambda: store.entry(key)),
        ]
        for method, call in calls:
            with pytest.raises(StoreError, match=f"{status} to {method}") as caught:
                call()
            assert caught.value.retryable == (status == 503)


def test_an_entry_is_read_without_its_body() -> None:
    """the beginning of an object is asked for; a head that is longer, or a server without ranges, is no trouble"""
    key = make_key("k")
    short = make_record(key, bytes(1 << 20))
    long = make_record(key, b"body", meta={"m": "x" * (200 << 10)})
    for record in (short, long):
        for has_ranges in (True, False):

            def handler(method: str, target: str, request: RawRequest) -> Reply:
                data = whole(record)  # noqa: B023 - called before the next turn
                wanted = request.headers.get("range", "").removeprefix("bytes=0-")
                if wanted and has_ranges:  # noqa: B023
                    return 206, {}, data[: int(wanted) + 1]
                return 200, {}, data

            with serving(handler) as (store, server):
                assert store.entry(key) == record.entry()
                assert len(server.requests) == (2 if record is long and has_ranges else 1)


def test_an_entry_of_another_key_is_none() -> None:
    """what is under a name and is another's is passed over; damage is counted"""
    answers: list[bytes] = [whole(named("other")[1]), b"rubbish", b""]
    with serving(lambda *_: (200, {}, answers.pop(0))) as (store, _):
        assert [store.entry(make_key("k")) for _ in range(3)] == [None] * 3
        assert store.counters().corrupt == 2


def test_keys_too_long_for_names_are_read_from_heads() -> None:
    """a listing of hashed names gives the keys all the same, those gone meanwhile left out"""
    key = make_key("x" * 500)
    gone: Key = make_key("y" * 500)
    record = make_record(key)
    rows = "".join(
        f"<response><href>/base/vcache/{name}</href></response>"
        for name in (name_of(key), name_of(gone), name_of(make_key("short")))
    )

    def handler(method: str, target: str, request: RawRequest) -> Reply:
        if method == "PROPFIND":
            return 207, {}, f'<multistatus xmlns="DAV:">{rows}</multistatus>'.encode()
        if target.endswith(name_of(key)):
            return 200, {}, whole(record)
        return 404, {}, b""

    with serving(handler) as (store, _):
        assert sorted(store.scan()) == sorted([key, make_key("short")])
        assert list(store.scan(b"\0sx")) == [key]
        assert list(store.scan(b"\0sx" + b"x" * 200)) == [key]
        assert list(store.scan(b"\0sx" + b"x" * 600)) == []


def test_a_closed_store_asks_nobody() -> None:
    """`info` is still what it was, but for what only the server knows"""
    with serving(Own()) as (store, server):
        store.close()
        assert store.info.name == "http"
        assert not store.info.is_listed
        with pytest.raises(StoreClosed):
            store.missing([make_key("k")])
        assert server.requests == []
