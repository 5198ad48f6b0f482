"""Servers that lie, stall and flood: an HTTP tier gives a miss or an error in time, never wrong bytes."""

from __future__ import annotations

import gzip
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.patience import no_hang
from tests.servers import RawRequest, Script, raw_http
from vcache.entry import Entry, Key, Record, make_key
from vcache.errors import StoreError, StoreUnavailable
from vcache.hash import digest
from vcache.kit.deadlines import Within
from vcache.store.address import Options, parse_url
from vcache.store.base import Batches, Presence, Store
from vcache.store.checking import verified
from vcache.store.http import open_url
from vcache.store.objects import frame, joined, name_of, pack
from vcache.testing.records import body_of, make_record, named

KEY, RECORD = named("wanted")
OBJECT: Final = b"".join(map(bytes, pack(RECORD)))
DEADLINE_S: Final = 0.5
# A loaded machine may let a thread wait; a hang would take a hundred times as long.
# Two answers up to the limit, each moved once while it grows.
MOST_BYTES: Final = 100 << 20
LIMIT: Final = "1MB"

Ask = Callable[[Store], object]


def get(store: Store) -> Record | None:
    return store.get(KEY)


def get_many(store: Store) -> Record | None:
    assert isinstance(store, Batches)
    return store.get_many([KEY, make_key("other")]).get(KEY)


def head(status: str = "200 OK", *lines: str, length: int | None = None) -> bytes:
    rows = [f"HTTP/1.1 {status}", *lines]
    if length is not None:
        rows.append(f"Content-Length: {length}")
    return "\r\n".join([*rows, "", ""]).encode()


def says(*pieces: bytes) -> Script:
    """A server that sends these bytes and closes the connection."""

    def script(connection: socket.socket, request: RawRequest) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return script


def holds(*pieces: bytes) -> Script:
    """A server that sends these bytes, and then nothing, for ever."""

    def script(connection: socket.socket, request: RawRequest) -> None:
        says(*pieces)(connection, request)
        connection.recv(1)

    return script


def forever(piece: bytes, *, start: bytes = b"", every_s: float = 0) -> Script:
    """A server that sends the same piece again and again."""

    def script(connection: socket.socket, request: RawRequest) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)
            time.sleep(every_s)  # the pace is what is tested

    return script


def resets(*pieces: bytes) -> Script:
    """A server that breaks the connection off."""

    def script(connection: socket.socket, request: RawRequest) -> None:
        says(*pieces)(connection, request)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return script


@contextmanager
def opened(address: str, options: str = f"?limit={LIMIT}") -> Iterator[Store]:
    url = parse_url(f"{address}/base{options}")
    store = open_url(url, Options(url))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def little_memory() -> Iterator[None]:
    """What is done in this context takes no more than some memory at its peak."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is
    before = _status_bytes("VmRSS")
    yield
    assert _status_bytes("VmHWM") - before < MOST_BYTES


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def outcome(store: Store, ask: Ask) -> Record | StoreError | None:
    """What came of asking, in time and in little memory."""
    with little_memory(), no_hang():
        try:
            with Within(DEADLINE_S, rate_bytes=1 << 20):
                result = ask(store)
        except StoreError as error:
            result = error
    assert result is None or isinstance(result, Record | StoreError)
    return result


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def whole(data: bytes, *lines: str) -> bytes:
    return head("200 OK", *lines, length=len(data)) + data


FOREIGN = b"".join(map(bytes, pack(named("another")[1])))
BOMB = gzip.compress(bytes(8 << 20)) * 32  # several members are one file of 256 MB

# What is answered 200 and is no object of the key: a miss, counted as corrupt.
DAMAGED: Final = {
    "flipped magic": whole(flipped(OBJECT, 0)),
    "flipped length": whole(flipped(OBJECT, 4)),
    "flipped seal": whole(flipped(OBJECT, 10)),
    "flipped head": whole(flipped(OBJECT, 50)),
    "flipped key": whole(flipped(OBJECT, OBJECT.index(KEY))),
    "another key's": whole(FOREIGN),
    "empty": whole(b""),
    "a page of a portal": whole(b"<html>Please log in</html>", "Content-Type: text/html"),
    "a head only": whole(OBJECT[:-5]),
    "more than an object": whole(OBJECT + b"more"),
    "cut where the connection ends": head() + OBJECT[:-5],
    "a bomb in gzip": whole(BOMB, "Content-Encoding: gzip"),
    "a bomb in deflate": whole(BOMB, "Content-Encoding: deflate, gzip"),
    "a claimed head of 4 GB": whole(OBJECT[:4] + b"\xff\xff\xff\xff" + OBJECT[8:]),
}

# What is a fault: an error that says whether a retry helps.
FAULTS: Final[dict[str, tuple[Script, bool | None]]] = {
    "cut": (says(head(length=len(OBJECT)) + OBJECT[:-5]), True),
    "cut in the head": (says(b"HTTP/1.1 200 OK\r\nContent-Le"), True),
    "cut chunk": (says(head("200 OK", "Transfer-Encoding: chunked") + b"100\r\nabc"), True),
    "a wrong chunk": (says(head("200 OK", "Transfer-Encoding: chunked") + b"xyz\r\nabc\r\n0\r\n\r\n"), True),
    "reset": (resets(head(length=len(OBJECT)) + OBJECT[:-5]), True),
    "reset at once": (resets(), True),
    "nothing": (says(), True),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.2\r\n"), True),
    "an object without HTTP": (says(OBJECT), True),
    "half a status": (says(b"HTTP/1.1 2\r\n\r\n"), None),
    "a status of letters": (says(b"HTTP/1.1 abc OK\r\n\r\n" + OBJECT), None),
    "a huge status": (says(b"HTTP/1.1 2000 OK\r\n\r\n" + OBJECT), None),
    "HTTP/3 in clear": (says(b"HTTP/3 200\r\n\r\n" + OBJECT), None),
    "lengths that differ": (
        says(head("200 OK", "Content-Length: 5", f"Content-Length: {len(OBJECT)}") + OBJECT),
        None,
    ),
    "a negative length": (says(head("200 OK", "Content-Length: -5") + OBJECT), None),
    "a length beyond all numbers": (says(head("200 OK", f"Content-Length: {10**30}") + OBJECT), None),
    "a claimed length above the limit": (holds(head(length=100 << 30) + b"x"), False),
    "another protocol": (says(head("101 Switching Protocols", "Upgrade: h2c", "Connection: Upgrade")), None),
    "a line without end": (forever(b"x" * 65536, start=b"HTTP/1.1 200 OK\r\nX: "), None),
    "headers without end": (forever(b"X-Name: value\r\n" * 64, start=b"HTTP/1.1 200 OK\r\n"), None),
    "interim answers without end": (forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 64), None),
    "a body without end": (forever(bytes(65536), start=head()), False),
    "chunks without end": (
        forever(b"10000\r\n" + bytes(65536) + b"\r\n", start=head("200 OK", "Transfer-Encoding: chunked")),
        False,
    ),
    "trailers without end": (
        forever(b"X: y\r\n" * 64, start=head("200 OK", "Transfer-Encoding: chunked") + b"0\r\n"),
        None,
    ),
    "silence": (holds(), True),
    "silence in the head": (holds(b"HTTP/1.1 200 OK\r\nContent-"), True),
    "silence in the body": (holds(head(length=len(OBJECT)) + OBJECT[:-5]), True),
    "much claimed, a byte sent": (holds(head(length=1 << 20) + b"v"), True),
    "a dripping head": (forever(b"x", start=b"HTTP/1.1 200 OK\r\nX: ", every_s=0.02), True),
    "a dripping body": (forever(b"x", start=head(length=1 << 20), every_s=0.02), True),
}


@pytest.mark.parametrize("ask", [get, get_many])
@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_object_of_the_key_is_a_miss(name: str, ask: Ask) -> None:
    """Wrong bytes are a miss that is counted, whatever they are; nothing is unpacked."""
    with raw_http(says(DAMAGED[name])) as server, opened(server.address) as store:
        result = outcome(store, ask)
        if isinstance(result, Record):  # an object of the key: its content is what readers verify
            assert verified(KEY, result) is None
        else:
            assert result is None
            assert store.counters().corrupt > 0


@pytest.mark.parametrize("ask", [get, get_many])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_an_error_in_time(name: str, ask: Ask) -> None:
    """Each way to fail gives an error by the deadline, in bounded memory, and says if a retry helps."""
    script, is_retryable = FAULTS[name]
    with raw_http(script) as server, opened(server.address) as store:
        result = outcome(store, ask)
        assert isinstance(result, StoreError), result
        if is_retryable is not None:
            assert result.retryable is is_retryable, result
        assert server.address.rpartition("/")[2] in str(result)


def test_a_flipped_content_is_found_by_who_verifies() -> None:
    """Wrong bytes of the right length pass the seal of the head, not the digest of the content."""
    wrong = flipped(OBJECT, len(OBJECT) - 1)
    with raw_http(says(whole(wrong))) as server, opened(server.address) as store:
        record = store.get(KEY)
        assert record is not None
        assert verified(KEY, record) is None
        assert not store.info.is_trusted
        assert not store.info.is_verified


def test_encodings_are_never_asked_for() -> None:
    """No request asks for a packed answer; an answer that says to be packed is taken as it is."""
    with raw_http(says(whole(OBJECT, "Content-Encoding: gzip"))) as server, opened(server.address) as store:
        record = store.get(KEY)
        assert record is not None
        assert record.body == RECORD.body
        assert "accept-encoding" not in server.requests[0].headers


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:1/elsewhere",
        "/same/server",
        "gopher://127.0.0.1:1/x",
        "https://user:secret@example.org/",
    ],
)
def test_no_redirect_is_followed(status: str, location: str) -> None:
    """A redirect is an error that shows where it points; nobody goes there, or asks again."""
    answer = head(status, f"Location: {location}", length=0)
    with raw_http(says(answer)) as server, opened(server.address) as store:
        with pytest.raises(StoreError, match="redirects are not followed") as caught:
            store.get(KEY)
        assert not caught.value.retryable
        assert location in str(caught.value)
        assert len(server.requests) == 1


def test_a_challenge_is_not_answered() -> None:
    """401 with any scheme is an error that names the variable to set; no second request is made."""
    answer = head("401 No", "WWW-Authenticate: NTLM", 'WWW-Authenticate: Basic realm="x"', length=0)
    with raw_http(says(answer)) as server, opened(server.address) as store:
        with pytest.raises(StoreError, match="VCACHE_TOKEN") as caught:
            store.get(KEY)
        assert not caught.value.retryable
        assert len(server.requests) == 1


def test_nothing_is_remembered_for_the_server() -> None:
    """Cookies, other services and strict transport are offers that are not taken."""
    offers = (
        "Set-Cookie: id=1; Path=/",
        'Alt-Svc: h2="127.0.0.1:1"',
        "Strict-Transport-Security: max-age=999",
    )

    def script(connection: socket.socket, request: RawRequest) -> bool:
        connection.sendall(whole(OBJECT, *offers))
        return True

    with raw_http(script) as server, opened(server.address) as store:
        for _ in range(3):
            assert store.get(KEY) is not None
        assert all("cookie" not in request.headers for request in server.requests)
        assert len({request.peer for request in server.requests}) == 1


def test_a_put_that_nobody_reads_ends_in_time() -> None:
    """A server that takes no byte of a body costs one deadline."""

    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        key = make_key("large")
        record = make_record(key, body_of(16 << 20))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with opened(address, "") as store, no_hang(), pytest.raises(StoreUnavailable), Within(DEADLINE_S):
            store.put(key, record)


def test_a_slow_answer_is_waited_for_as_long_as_it_comes() -> None:
    """What comes lengthens the deadline: a large record over a slow line arrives whole."""
    key, content = make_key("slow"), body_of(1 << 20)
    record = make_record(key, content)
    data = b"".join(map(bytes, pack(record)))

    def script(connection: socket.socket, request: RawRequest) -> bool:
        connection.sendall(head(length=len(data)))
        for at in range(0, len(data), 1 << 15):
            connection.sendall(data[at : at + (1 << 15)])
            time.sleep(0.02)  # the pace is what is tested
        return True

    with raw_http(script) as server, opened(server.address, "") as store:
        for _ in range(2):
            with Within(0.2, rate_bytes=1 << 19):
                got = store.get(key)
            assert got is not None
            assert got.body == content
        assert len(server.requests) <= 3  # once more at most, to find out


# -- the calls of vcache's own server, lied about -----------------------------------------------


def own(answers: dict[str, bytes]) -> Script:
    """A server that says to be vcache's own."""

    def script(connection: socket.socket, request: RawRequest) -> bool:
        path = request.line.split()[1].partition("?")[0]
        body = next((each for end, each in answers.items() if path.endswith(end)), None)
        status = "404 Not Found" if body is None else "200 OK"
        data = b"" if body is None or request.line.startswith("HEAD") else body
        length = len(data)
        connection.sendall(head(status, "Server: vcache/1", length=length) + data)
        return True

    return script


def framed(*records: Record) -> bytes:
    return joined(frame(record) for record in records)


def test_a_batch_gives_what_was_asked_for_only() -> None:
    """Records of other keys, damaged ones, and what follows a cut are left out of a batch's answer."""
    sound, stranger = named("sound"), named("stranger")
    damaged = bytearray(framed(named("damaged")[1]))
    damaged[60] ^= 1
    answer = framed(sound[1], stranger[1]) + bytes(damaged) + framed(RECORD) + framed(named("cut")[1])[:-3]
    with raw_http(own({"/-/get": answer})) as server, opened(server.address) as store:
        assert isinstance(store, Batches)
        keys: list[Key] = [sound[0], named("damaged")[0], KEY, named("cut")[0]]
        found = store.get_many(keys)
        assert set(found) == {sound[0], KEY}
        assert found[KEY].body == RECORD.body
        assert store.counters().corrupt == 2


def test_a_batch_that_claims_too_much_is_no_batch() -> None:
    """A length beyond the answer ends the reading."""
    answer = struct.pack("<Q", 1 << 60) + OBJECT
    with raw_http(own({"/-/get": answer})) as server, opened(server.address) as store:
        assert isinstance(store, Batches)
        assert dict(store.get_many([KEY, make_key("b")])) == {}
        assert store.counters().corrupt == 1


def test_what_is_missing_is_believed_for_the_keys_asked_only() -> None:
    """An answer that names a key that nobody asked for is a fault: believed, all others would be there."""
    other = make_key("other")
    right = f"{name_of(KEY)}\n".encode()
    with raw_http(own({"/-/missing": right})) as server, opened(server.address) as store:
        assert isinstance(store, Presence)
        assert store.missing([KEY, other]) == {KEY}
    strange = f"{name_of(KEY)}\n{name_of(make_key('stranger'))}\nrubbish\xff\n".encode("latin-1")
    with raw_http(own({"/-/missing": strange})) as server, opened(server.address) as store:
        assert isinstance(store, Presence)
        with pytest.raises(StoreUnavailable, match="more is missing than it was asked about"):
            store.missing([KEY, other])


def test_a_listing_that_goes_in_circles_ends() -> None:
    """A server whose listing never goes on is an error, not a loop."""

    def script(connection: socket.socket, request: RawRequest) -> bool:
        after = "X-Next: 0073\r\n" if "/-/list" in request.line else ""
        connection.sendall(
            f"HTTP/1.1 200 OK\r\nServer: vcache/1\r\n{after}Content-Length: 0\r\n\r\n".encode()
        )
        return True

    with raw_http(script) as server, opened(server.address) as store:
        with pytest.raises(StoreUnavailable, match="listing"):
            list(store.scan())
        assert len(server.requests) <= 4


LAUGHS = b"".join(
    b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) if n else b'<!ENTITY l0 "ha">' for n in range(12)
)
LISTINGS: Final = {
    "a billion laughs": b'<?xml version="1.0"?><!DOCTYPE m [' + LAUGHS + b']><m xmlns="DAV:">&l11;</m>',
    "a local file": b'<?xml version="1.0"?><!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]><m>&x;</m>',
    "a foreign definition": b'<?xml version="1.0"?><!DOCTYPE m SYSTEM "http://127.0.0.1:1/x.dtd"><m/>',
    "no XML": b"<html><p>it works",
    "cut": b'<?xml version="1.0"?><multistatus xmlns="DAV:"><response><href>/base/vcache/00',
    "nothing": b"",
}


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_that_bites_is_an_error(name: str) -> None:
    """A listing with a document type, or none at all, is an error before anything grows."""
    answer = head("207 Multi-Status", length=len(LISTINGS[name])) + LISTINGS[name]

    def script(connection: socket.socket, request: RawRequest) -> bool:
        is_listing = request.line.startswith("PROPFIND")
        connection.sendall(answer if is_listing else head("404 Not Found", length=0))
        return True

    with raw_http(script) as server, opened(server.address) as store:
        result = outcome(store, lambda store: list(store.scan()) or None)
        assert isinstance(result, StoreUnavailable)


def test_a_listing_names_only_what_can_be_a_key() -> None:
    """Paths that climb, names of others' files and of no object are passed over."""
    hrefs = ["/base/vcache/", "../../etc/passwd", "/base/vcache/%2e%2e%2fx", "zz", "/base/vcache/0073",
             "http://elsewhere/0073ff", "/base/vcache/~" + "0" * 64, "A0", "/base/vcache/0073"]  # fmt: skip
    rows = "".join(f"<d:response><d:href>{href}</d:href></d:response>" for href in hrefs)
    body = f'<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">{rows}</d:multistatus>'.encode()

    def script(connection: socket.socket, request: RawRequest) -> bool:
        if request.line.startswith("PROPFIND"):
            connection.sendall(head("207 Multi-Status", length=len(body)) + body)
        else:
            connection.sendall(head("404 Not Found", length=0))
        return True

    with raw_http(script) as server, opened(server.address) as store:
        assert sorted(store.scan()) == [b"\0s", b"\0s\xff"]


def test_a_head_that_is_no_entry_is_a_miss() -> None:
    """A seal that fits a head which decodes to nothing does not make it an entry."""
    entry = Entry(key=KEY, digest=digest(b""), size_bytes=0).encode()
    wrong = entry + b"tail"
    data = b"".join(map(bytes, pack(Record(wrong, b""))))
    with raw_http(says(whole(data))) as server, opened(server.address) as store:
        record = store.get(KEY)
        assert record is None or verified(KEY, record) is None
