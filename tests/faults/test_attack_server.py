"""Attacks on a server: framing that two readers read differently, borrowed browsers, bombs, names that climb."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import socket
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import lz4.frame
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.e2e.native import Wire, an_object
from tests.e2e.served import new_token
from tests.servers import VcacheServer, vcache_serve
from vcache.entry import Encoding, Entry, Record, make_key
from vcache.hash import digest
from vcache.server.aws_chunked import AwsChunks
from vcache.server.connection import MAX_HEAD_BYTES
from vcache.server.refused import Refused
from vcache.store.objects import name_of, pack

MOST_BYTES: Final = 300 << 20
ZEROS_BYTES: Final = 1 << 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VcacheServer]:
    with vcache_serve(tmp_path_factory.mktemp("open") / "store") as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def wire(server: VcacheServer) -> Iterator[Wire]:
    with Wire(server.port) as wire:
        yield wire


@pytest.fixture(scope="module")
def lodge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VcacheServer, dict[str, str]]]:
    """A server that asks for tokens, and some by role and namespace."""
    directory = tmp_path_factory.mktemp("closed") / "store"
    whos = {"ours": ("ours", "writer"), "theirs": ("theirs", "writer"), "reader": ("ours", "reader")}
    told = {name: new_token(directory, *who) for name, who in whos.items()}
    tokens = {name: each["token"] for name, each in told.items()}
    with vcache_serve(
        directory, "--tokens", directory / "server" / "tokens.json", "--access-log", "all"
    ) as server:
        yield server, tokens


def exchanged(server: VcacheServer, data: bytes) -> bytes:
    """All that a server answers to some bytes, after which nothing comes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        with suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        parts = []
        with suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                parts.append(piece)
    return b"".join(parts)


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def peak_bytes(server: VcacheServer) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


# -- framing --------------------------------------------------------------------------------------

SMUGGLED: Final = b"PUT /dav/smuggled HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx"
HOST: Final = b"host: localhost\r\n"

# Each is a request whose length two readers may see differently, with another one in what may be its body.
AMBIGUOUS: Final = {
    "a length and chunks": b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"content-length: 0\r\ncontent-length: 70\r\n\r\n",
    "a list of lengths": b"content-length: 0, 70\r\n\r\n",
    "a negative length": b"content-length: -1\r\n\r\n",
    "a length with a sign": b"content-length: +0\r\n\r\n",
    "a length in hexadecimal": b"content-length: 0x0\r\n\r\n",
    "a length beyond all numbers": b"content-length: 18446744073709551616\r\n\r\n",
    "a length with a blank inside": b"content-length: 0 0\r\n\r\n",
    "a blank before the colon": b"content-length : 0\r\n\r\n",
    "a line folded": b"x: y\r\n content-length: 70\r\ncontent-length: 0\r\n\r\n",
    "another coding": b"transfer-encoding: gzip, xchunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked with a tab": b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a NUL in a header": b"x: a\0b\r\ncontent-length: 0\r\n\r\n",
    "a bare line feed in a header": b"x: y\ncontent-length: 70\r\ncontent-length: 0\r\n\r\n",
    "a bare carriage return": b"x: y\rcontent-length: 70\r\ncontent-length: 0\r\n\r\n",
    "a chunk that is negative": b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n",
    "a chunk in 0x": b"transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "a chunk beyond all numbers": b"transfer-encoding: chunked\r\n\r\n10000000000000000\r\n\r\n",
    "a chunk longer than it says": b"transfer-encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
    "chunks of line feeds": b"transfer-encoding: chunked\n\n0\n\n",
    "two hosts": b"host: localhost\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused(server: VcacheServer, wire: Wire, name: str) -> None:
    """After a head with odd framing nothing is read as a second request."""
    answer = exchanged(server, b"PUT /dav/first HTTP/1.1\r\n" + HOST + AMBIGUOUS[name] + SMUGGLED)
    assert statuses(answer) in ([], [400]), answer[:200]  # in the middle of an answer there are no words
    assert wire.ask("GET", "/dav/smuggled").status == 404


@pytest.mark.parametrize(
    "line",
    [
        b"GET /dav/a b HTTP/1.1", b"GET /dav/a HTTP/9.9", b"GET  /dav/a HTTP/1.1", b"GET /dav/\0a HTTP/1.1",
        b"GET\t/dav/a\tHTTP/1.1", b"get /dav/a HTTP/1.1", b"GET http://[::1/ HTTP/1.1", b"PRI * HTTP/2.0",
        b"CONNECT localhost:80 HTTP/1.1", b"GET dav/a HTTP/1.1", b"OPTIONS * HTTP/1.1", b"\x16\x03\x01\x02\0",
        b"GET //evil/..//dav/a HTTP/1.1", b"GET /dav/%00 HTTP/1.1", b"GET /dav/%ff%fe HTTP/1.1",
    ],
)  # fmt: skip
def test_an_odd_request_line_ends_in_words(server: VcacheServer, line: bytes) -> None:
    """A request line that is none, or of no use, is answered with a status of 4xx, and harms nobody."""
    found = statuses(exchanged(server, line + b"\r\n" + HOST + b"connection: close\r\n\r\n"))
    assert all(400 <= status < 500 for status in found)
    assert len(found) <= 1


def test_a_target_in_absolute_form_means_its_path(server: VcacheServer, wire: Wire) -> None:
    """What a request names as its server does not matter: its path and the token decide."""
    assert wire.ask("PUT", "/dav/absolute", b"content").status in (201, 204)
    assert wire.ask("GET", "http://elsewhere.example/dav/absolute").body == b"content"


def test_trailers_count_for_nothing(lodge: tuple[VcacheServer, dict[str, str]]) -> None:
    """A token behind a body lets nobody in."""
    server, tokens = lodge
    request = (
        b"PUT /dav/trailed HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        b"1\r\nx\r\n0\r\nauthorization: Bearer " + tokens["ours"].encode() + b"\r\n\r\n"
    )
    assert statuses(exchanged(server, request)) == [401]


def test_trailers_without_end_end(server: VcacheServer) -> None:
    """Who sends trailers for ever is let go, whatever it sends."""
    start = (
        b"PUT /dav/endless HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    )
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(start)
        with suppress(ConnectionError):
            while sent < 64 * MAX_HEAD_BYTES:
                connection.sendall(b"x-name: value\r\n" * 1000)
                sent += 15_000
    assert sent < 64 * MAX_HEAD_BYTES


def test_extensions_of_chunks_take_no_memory(server: VcacheServer) -> None:
    """An extension of a chunk that is long is passed over or refused, and kept nowhere."""
    before = peak_bytes(server)
    start = b"PUT /dav/extended HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1;"
    exchanged(server, start + b"x" * (32 << 20))
    assert peak_bytes(server) - before < 16 << 20


TOKENS = st.sampled_from(
    [
        b"GET ", b"PUT ", b"POST ", b"/dav/a", b"/vcache/00", b"/s3/a/b", b"/api/v1/values/a", b"/v8/artifacts/a",
        b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"host: localhost\r\n", b"content-length: 5\r\n", b"\r\n", b"\n", b"\0",
        b"transfer-encoding: chunked\r\n", b"5\r\nabcde\r\n", b"0\r\n\r\n", b"expect: 100-continue\r\n",
        b"upgrade: h2c\r\nconnection: upgrade\r\n", b"range: bytes=0-\r\n", b"connection: close\r\n", b"abcde",
        b"\xff\xfe", b"%2e%2e%2f", b"?a=b&a=", b"#", b":", b";", b"-1\r\n", b"authorization: Basic \xff\r\n",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(TOKENS, st.binary(max_size=20)), max_size=24))
@example(
    [
        b"PUT ",
        b"/dav/a",
        b" HTTP/1.1\r\n",
        b"upgrade: h2c\r\nconnection: upgrade\r\n",
        b"content-length: 5\r\n\r\n",
    ]
)
def test_no_bytes_break_the_server(server: VcacheServer, pieces: list[bytes]) -> None:
    """Whatever is sent, no answer has a status of 5xx but 501, and the next client is served."""
    answer = exchanged(server, b"".join(pieces))
    assert all(status < 500 or status == 501 for status in statuses(answer)), answer[:300]
    assert statuses(
        exchanged(server, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    ) == [200]


# -- browsers -------------------------------------------------------------------------------------

# What a browser adds to the request of a page from elsewhere, or of one whose name was made to lead here.
PAGES: Final[dict[str, Mapping[str, str]]] = {
    "an origin": {"origin": "https://evil.example"},
    "no origin to speak of": {"origin": "null"},
    "another port": {"origin": "http://localhost:1", "sec-fetch-site": "same-site"},
    "an image": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    "a form": {
        "origin": "https://evil.example",
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
    },
    "a name that leads here": {"host": "evil.example"},
    "a name with a port": {"host": "evil.example:8080"},
    "a name like an address": {"host": "127.0.0.1.evil.example"},
    "a name like ours": {"host": "localhost.evil.example"},
    "its own origin there": {"host": "evil.example", "origin": "http://evil.example"},
}
PATHS: Final = [
    "/dav/page",
    "/vcache/-/list",
    "/api/v1/values/page",
    "/s3/bucket/page",
    "/metrics",
    "/status",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_from_elsewhere_reads_and_writes_nothing(server: VcacheServer, name: str, path: str) -> None:
    """A page that a browser on this machine shows cannot use the open server."""
    for method, body in (("GET", None), ("PUT", b"x"), ("POST", b"x"), ("OPTIONS", None)):
        with Wire(server.port) as wire:
            answer = wire.ask(method, path, body, {"content-type": "text/plain", **PAGES[name]})
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost"}, {"host": "127.0.0.1:8080"}, {"host": "[::1]:80"}, {"host": "LOCALHOST."},
        {"host": "vcache"}, {"host": "host.docker.internal:8080"}, {"host": "cache.localhost"},
        {"host": "localhost:80", "origin": "http://localhost:80", "sec-fetch-site": "same-origin"},
        {"host": "localhost:80", "origin": "http://localhost:80"},
        {"host": "localhost", "sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
        {"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)  # fmt: skip
def test_who_means_this_server_is_served(wire: Wire, headers: Mapping[str, str]) -> None:
    """Tools, containers, this server's own pages, and who follows a link to it get their answers."""
    assert wire.ask("GET", "/api/v1/openapi.json", None, headers).status == 200


def test_a_page_cannot_ride_on_a_users_password(lodge: tuple[VcacheServer, dict[str, str]]) -> None:
    """A browser that knows a token as password sends it along for any page: it does not count there."""
    server, tokens = lodge
    basic = {"authorization": "Basic " + base64.b64encode(f"x:{tokens['ours']}".encode()).decode()}
    with Wire(server.port) as wire:
        assert wire.ask("PUT", "/dav/mine", b"x", basic).status in (201, 204)
        page = {"origin": "https://evil.example", "content-type": "text/plain", **basic}
        assert wire.ask("POST", "/vcache/-/put", b"x", page).status == 403
    with Wire(server.port) as wire:  # any name leads to a server that asks for tokens
        assert wire.ask("GET", "/dav/mine", None, {"host": "cache.example", **basic}).body == b"x"


def test_what_somebody_stored_does_not_run_in_a_browser(server: VcacheServer, wire: Wire) -> None:
    """A stored page or script is shown as a page of nobody: no script of it runs for this server."""
    page = b"<script>fetch('/api/v1/values/x', {method: 'DELETE'})</script>"
    assert wire.ask("PUT", "/api/v1/values/page", page, {"content-type": "text/html"}).status == 201
    answer = wire.ask("GET", "/api/v1/values/page")
    assert answer.body == page
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


# -- names ----------------------------------------------------------------------------------------

SECRET: Final = b"only for theirs"


def climbing(name: str) -> list[str]:
    """Paths with which somebody may hope to reach a name of the namespace `theirs`."""
    return [
        f"/dav/../@theirs:dav/{name}", f"/dav/%2e%2e/@theirs:dav/{name}", f"/dav/@theirs:dav%00{name}",
        f"/dav/%00@theirs:dav%00{name}", f"/dav/..%2f@theirs:dav%2f{name}", f"/api/v1/values/@theirs:dav%00{name}",
        f"/api/v1/values/%00@theirs:dav%00{name}", f"/s3/..%2f@theirs:dav/{name}", f"/s3/@theirs:dav%00/{name}",
        f"/vcache/{make_key(name, namespace='@theirs:dav').hex()}", f"/theirs/vcache/{make_key(name).hex()}",
        f"/vcache/{(b'@theirs/' + make_key(name)).hex()}", f"//dav/{name}", f"/dav//{name}", f"/dav/./{name}",
        f"/ccache/../dav/{name}", f"/maven/../dav/{name}", f"/dav/{name}?namespace=theirs",
        f"/api/v1/values/{name}?namespace=theirs", f"/api/v1/values/..%2f..%2ftheirs%2f{name}",
    ]  # fmt: skip


def test_no_name_leads_into_another_namespace(lodge: tuple[VcacheServer, dict[str, str]]) -> None:
    """However a name is written, it is one of its token's namespace."""
    server, tokens = lodge
    theirs, ours = ({"authorization": f"Bearer {tokens[who]}"} for who in ("theirs", "ours"))
    with Wire(server.port) as wire:
        assert wire.ask("PUT", "/dav/hidden", SECRET, theirs).status in (201, 204)
        assert wire.ask("PUT", "/api/v1/values/hidden", SECRET, theirs).status == 201
        for path in climbing("hidden"):
            assert SECRET not in wire.ask("GET", path, None, ours).body, path
            wire.ask("PUT", path, b"overwritten", ours)
            wire.ask("DELETE", path, None, ours)
        assert wire.ask("GET", "/dav/hidden", None, theirs).body == SECRET
        assert wire.ask("GET", "/api/v1/values/hidden", None, theirs).body == SECRET


def test_no_name_leads_to_a_file(server: VcacheServer) -> None:
    """The served directory is no part of any path."""
    for start in ("/dav", "/s3/a", "/ccache", "/maven", "/api/v1/values", "/gradle", "/vcache", "/nothing"):
        for rest in ("/../../../../etc/passwd", "/%2e%2e/%2e%2e/format", "//etc/passwd", "/..%5c..%5cformat"):
            with Wire(server.port) as wire:
                body = wire.ask("GET", start + rest).body
            assert b"root:" not in body
            assert b"vcache-disk" not in body


def test_lines_in_paths_and_agents_make_none_in_logs(lodge: tuple[VcacheServer, dict[str, str]]) -> None:
    """Nobody writes a line of their own into a log, or a terminal's escape."""
    server, tokens = lodge
    bearer = {"authorization": f"Bearer {tokens['ours']}", "user-agent": "\x9b2Jagent"}
    with Wire(server.port) as wire:
        for path in (
            "/dav/%0a%7b%22forged%22%3a1%7d",
            "/dav/%1b%5b2J",
            "/api/v1/values/%0d%0aforged",
            "/x%0aforged",
        ):
            wire.ask("PUT", path, b"x", bearer)
            wire.ask("GET", path, None, bearer)
    written = server.log.read_text()
    audited = (server.directory / "server" / "audit.jsonl").read_text()
    for text in (written, audited):
        assert "\x1b" not in text
        for line in text.splitlines():
            assert json.loads(line).keys() > {"at_ns"}


def test_clients_make_no_series_of_metrics(server: VcacheServer, wire: Wire) -> None:
    """No name, method or path that a client chooses becomes a label."""

    def count() -> int:
        return len(re.findall(rb"(?m)^vcache_server_", wire.ask("GET", "/metrics").body))

    for path in ("/dav/warm", "/s3/bucket/warm"):
        wire.ask("GET", path)
    before = count()
    for number in range(50):
        wire.ask("GET", f"/dav/{number}/{os.urandom(4).hex()}", None, {"user-agent": str(number)})
        wire.ask("GET", f"/s3/bucket{number}/x")
    assert count() == before


# -- ranges, XML, JSON ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=" + ",".join(["0-"] * 2000), "bytes=0-18446744073709551615", "bytes=-99999999999999999999999",
        "bytes=5-2", "bytes=--1", "bytes=0-,-1", "bytes=٣-", "items=0-1", "bytes=1e3-",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/dav/ranged", "/s3/bucket/ranged", "/api/v1/values/ranged"])
def test_a_range_costs_no_more_than_the_value(wire: Wire, path: str, asked: str) -> None:
    """Ranges that overlap, or make no sense, are answered with one copy at most."""
    assert wire.ask("PUT", path, b"0123456789").status < 300
    with Wire(int(wire.socket.getpeername()[1])) as other:
        other.socket.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nrange: {asked}\r\n\r\n".encode())
        answer = other.answer()
    assert answer.status in (200, 206, 400, 416)
    assert len(answer.body) <= 10 or answer.status in (400, 416)


def test_names_stay_names_in_xml(wire: Wire) -> None:
    """What a listing tells is escaped, and nothing that a client sends as XML is read."""
    name = "<a>&\"'%5d%5d%3e"
    assert wire.ask("PUT", f"/s3/markup/{name}", b"x").status == 200
    assert b"<a>" not in wire.ask("GET", "/s3/markup?list-type=2").body
    assert b"<a>" not in wire.ask("GET", "/s3/markup/<a>none").body
    bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
    answer = wire.ask("PROPFIND", "/dav/", bomb, {"depth": "0", "content-type": "application/xml"})
    assert answer.status == 207
    assert b"root:" not in answer.body


@pytest.mark.parametrize(
    "body", [b"[" * 60_000, b'{"a":' * 10_000, b"9" * 60_000, b"\xff", b'"\\ud800"', b"{}" * 40_000]
)
@pytest.mark.parametrize("path", ["/v8/artifacts", "/v8/artifacts/events", "/api/v1/tokens", "/api/v1/gc"])
def test_json_of_any_depth_is_refused_in_words(server: VcacheServer, path: str, body: bytes) -> None:
    """JSON that nests deeply, or is none, is an error of the client."""
    with Wire(server.port) as wire:
        assert wire.ask("POST", path, body, {"content-type": "application/json"}).status < 500


# -- bombs ----------------------------------------------------------------------------------------


def bombs() -> dict[str, tuple[str, bytes]]:
    """Bodies of a few MB at most that unpack to a gigabyte, and where they are looked at."""
    zeros = bytes(16 << 20)
    frame = zstandard.ZstdCompressor(level=1).compress(zeros)
    member = gzip.compress(zeros, 1)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for number in range(16):
            file.writestr(str(number), zeros)
    return {
        "gzip": ("/v1/cache/bomb", member * 64),
        "zstd": ("/v8/artifacts/bomb", frame * 64),
        "zip": ("/s3/bucket/bomb", archive.getvalue()),
    }


@pytest.mark.parametrize("name", ["gzip", "zstd", "zip"])
def test_a_bomb_is_unpacked_to_nowhere(server: VcacheServer, wire: Wire, name: str) -> None:
    """What stands for a gigabyte takes no memory to look at."""
    path, body = bombs()[name]
    before = peak_bytes(server)
    assert wire.ask("PUT", path, body).status < 500
    assert peak_bytes(server) - before < MOST_BYTES


@pytest.mark.parametrize("way", ["alone", "in a batch"])
def test_an_object_that_unpacks_to_much_takes_little_memory(
    server: VcacheServer, wire: Wire, way: str
) -> None:
    """A sound object of 4 MB whose content is a gigabyte is digested in steps."""
    packer = lz4.frame.LZ4FrameCompressor()
    parts = [packer.begin(ZEROS_BYTES)]
    zeros = bytes(16 << 20)
    parts += [packer.compress(zeros) for _ in range(ZEROS_BYTES // len(zeros))]
    body = b"".join([*parts, packer.flush()])
    key = make_key(f"a bomb {way}")
    entry = Entry(key, digest(b"of something else"), ZEROS_BYTES, encoding=Encoding.LZ4, created_ns=1)
    data = b"".join(map(bytes, pack(Record(entry.encode(), body))))
    before = peak_bytes(server)
    if way == "alone":
        assert wire.ask("PUT", f"/vcache/{name_of(key)}", data).status == 400
    else:
        answer = wire.ask("POST", "/vcache/-/put", len(data).to_bytes(8, "little") + data)
        assert answer.body.split() == [b"?", b"400"]
    assert peak_bytes(server) - before < MOST_BYTES


def test_a_content_above_the_limit_is_refused_however_small_it_came(tmp_path: Path) -> None:
    """The limit of a server is of what it would have to hold."""
    with (
        vcache_serve(tmp_path / "store", env={"VCACHE_SERVE_LIMIT": "2MB"}) as server,
        Wire(server.port) as wire,
    ):
        key, content = make_key("long"), bytes(4 << 20)
        entry = Entry(key, digest(content), len(content), encoding=Encoding.LZ4, created_ns=1)
        data = b"".join(
            map(bytes, pack(Record(entry.encode(), lz4.frame.compress(content, store_size=False))))
        )
        assert len(data) < 1 << 20
        assert wire.ask("PUT", f"/vcache/{name_of(key)}", data).status == 413


def test_tiny_chunks_of_s3_are_taken_apart_at_once() -> None:
    """A body of half a million chunks takes as long as its bytes, not as their square."""
    chunks = AwsChunks(None)
    data = b"1\r\nx\r\n" * 500_000 + b"0\r\n\r\n"
    assert sum(len(chunks(data[at : at + (1 << 20)])) for at in range(0, len(data), 1 << 20)) == 500_000
    chunks.finish()


def test_trailers_of_s3_are_bounded() -> None:
    """A body cannot have the server remember trailers without end."""
    chunks = AwsChunks(None)
    with pytest.raises(Refused, match="trailers"):
        chunks(b"0\r\n" + b"".join(b"x-%d: y\r\n" % number for number in range(10_000)))


# -- who asks -------------------------------------------------------------------------------------


def test_no_authorization_but_a_token_lets_in(lodge: tuple[VcacheServer, dict[str, str]]) -> None:
    """Tokens cut short, in another scheme, twice, or beside a signature let nobody in."""
    server, tokens = lodge
    token = tokens["ours"]
    parts = token.split("_")
    for value in (
        token, f"Bearer {token[:-1]}", f"Bearer {token}x", f"Bearer {parts[0]}_{parts[1]}_", "Bearer ", "Basic ",
        f"Basic {token}", f"Digest {token}", f"Bearer {token} {token}", "Bearer \xff", "Basic " + "A" * 30_000,
        f"Bearer {parts[0]}_{parts[1]}_" + "0" * len(parts[2]), "AWS4-HMAC-SHA256 Credential=x", f"bearer{token}",
        f"AWS4-HMAC-SHA256 Credential={parts[1]}/20260101/a/s3/aws4_request, SignedHeaders=host, Signature=" + "0" * 64,
    ):  # fmt: skip
        for method, path in (
            ("GET", "/dav/x"),
            ("PUT", "/dav/x"),
            ("GET", "/s3/b/x"),
            ("GET", "/api/v1/tokens"),
        ):
            with Wire(server.port) as wire:
                status = wire.ask(
                    method, path, b"x" if method == "PUT" else None, {"authorization": value}
                ).status
            assert status in (400, 401, 403), (value, method, path)


def test_a_reader_cannot_write_in_any_way(lodge: tuple[VcacheServer, dict[str, str]]) -> None:
    """No method, path or override has a reader write."""
    server, tokens = lodge
    bearer = {
        "authorization": f"Bearer {tokens['reader']}",
        "x-http-method-override": "PUT",
        "x-forwarded-user": "admin",
    }
    name, data = an_object("by a reader")
    with Wire(server.port) as wire:
        for method, path, body in (
            ("PUT", f"/vcache/{name}", data), ("POST", "/vcache/-/put", len(data).to_bytes(8, "little") + data),
            ("POST", f"/dav/{name}", b"x"), ("MKCOL", "/dav/made/", None), ("COPY", "/dav/a", None),
            ("MOVE", "/dav/a", None), ("PUT", "/s3/bucket", b""), ("PUT", f"/api/v1/values/{name}", b"x"),
            ("POST", "/api/v1/gc", b"{}"), ("POST", "/api/v1/tokens", b"{}"), ("DELETE", f"/vcache/{name}", None),
        ):  # fmt: skip
            assert wire.ask(method, path, body, bearer).status >= 400, (method, path)
        assert wire.ask("GET", f"/vcache/{name}", None, bearer).status == 404


# -- the served directory -------------------------------------------------------------------------


def test_a_link_among_the_blobs_is_not_served(tmp_path: Path) -> None:
    """A link in the place of a value's file gives nothing of what it leads to."""
    (tmp_path / "precious").write_bytes(b"precious" * 100_000)
    with vcache_serve(tmp_path / "store") as server, Wire(server.port) as wire:
        content = os.urandom(800_000)
        assert wire.ask("PUT", "/dav/linked", content).status in (201, 204)
        (blob,) = (path for path in (server.directory / "blobs").rglob("*") if path.is_file())
        blob.unlink()
        blob.symlink_to(tmp_path / "precious")
        with Wire(server.port) as other:
            answer = other.ask("GET", "/dav/linked")
        assert b"precious" not in answer.body


def test_a_served_directory_knows_that_others_wrote_in_it(server: VcacheServer) -> None:
    """What clients put is nobody's own afterwards, also when the directory is opened without the server."""
    assert (server.directory / "foreign").exists()
