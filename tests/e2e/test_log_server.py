"""Logs over the real server: records in, queries out, live tails; who may do what; what is refused and how."""

from __future__ import annotations

import gzip
import json
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets.exceptions
import websockets.sync.client
import zstandard

from tests.patience import until
from tests.servers import VcacheServer, vcache_serve
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record
from vcache.server.callers import Role
from vcache.server.tokens import TokenFile

pytestmark = pytest.mark.e2e

LOGS = "/api/v1/logs"


class Logs:
    """A server, and a client of its logs."""

    def __init__(self, server: VcacheServer, client: httpx.Client) -> None:
        self.server, self.client = server, client

    def send(self, *records: Mapping[str, object], **options: Any) -> httpx.Response:
        body = "".join(json.dumps(record) + "\n" for record in records)
        return self.client.post(LOGS, content=body, **options)

    def ask(self, q: str, **more: str) -> list[dict[str, Any]]:
        got = self.client.get(f"{LOGS}/query", params={"q": q, **more})
        assert got.status_code == 200, got.text
        rows = [json.loads(line) for line in got.text.splitlines()]
        assert list(rows[-1]) == ["@end"]
        assert rows[-1]["@end"]["rows"] == len(rows) - 1
        return rows[:-1]

    @contextmanager
    def tail(self, q: str = "", after: str = "") -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        """Events of a live tail: kind and data, once it has begun."""
        headers = {"last-event-id": after} if after else {}
        with self.client.stream("GET", f"{LOGS}/tail", params={"q": q}, headers=headers, timeout=60) as reply:
            assert reply.status_code == 200
            lines = reply.iter_lines()
            assert next(lines) == "retry: 1000"
            yield _events(lines)


def _events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = "record"
    for line in lines:
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            yield kind, json.loads(line[6:])
            kind = "record"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    place = tmp_path_factory.mktemp("served") / "store"
    with vcache_serve(place) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        yield Logs(server, client)


def test_records_are_there_when_they_are_acknowledged(logs: Logs) -> None:
    """What is sent is found again, by a query, by its id, and by another process."""
    assert logs.send({"message": "hello", "level": "warn", "source": "ack", "run": "r1"}).json() == {
        "taken": 1
    }
    (found,) = logs.ask('source = "ack"')
    assert (found["message"], found["level"], found["run"]) == ("hello", "warning", "r1")
    assert logs.client.get(f"{LOGS}/records/{found['@id']}").json() == found
    with DiskLogs(logs.server.directory / "logs" / "default", seals=False) as store:
        record = store.find(found["@id"])
    assert record is not None
    assert record.message == "hello"


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstandard.compress), ("identity", bytes),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
    ],
    ids=["gzip", "deflate", "zstd", "identity", "deflate-raw"],
)  # fmt: skip
def test_bodies_may_be_packed(logs: Logs, coding: str, pack: Any, request: pytest.FixtureRequest) -> None:
    """Every coding that is offered is understood."""
    source = request.node.callspec.id
    body = pack(json.dumps({"message": "packed", "source": source}).encode())
    got = logs.client.post(LOGS, content=body, headers={"content-encoding": coding})
    assert got.json() == {"taken": 1}
    assert len(logs.ask(f'source = "{source}"')) == 1


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_bombs_are_shown_out(logs: Logs, coding: str) -> None:
    """What unpacks to more than is taken is refused, and nothing of it is kept."""
    pack: Callable[[bytes], bytes] = gzip.compress if coding == "gzip" else zstandard.compress
    body = pack(b'{"message":"' + bytes(64 << 20) + b'"}')
    got = logs.client.post(LOGS, content=body, headers={"content-encoding": coding})
    assert got.status_code == 413
    assert got.json()["type"] == "urn:vcache:too_large"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"not gzip", {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"{}" * 100)[:-9], {"content-encoding": "gzip"}, 400),
        (b"{}", {"content-encoding": "br"}, 415),
    ],
)
def test_bad_bodies_are_said_to_be_so(logs: Logs, body: bytes, headers: dict[str, str], status: int) -> None:
    """What can never be taken is a 400 or 415, which no client sends again."""
    got = logs.client.post(LOGS, content=body, headers=headers)
    assert got.status_code == status
    assert got.headers["content-type"] == "application/problem+json"


def test_lines_of_text_and_other_formats_are_taken(logs: Logs) -> None:
    """`make 2>&1 | curl`: plain lines under a source; and any format by its name."""
    plain = {"content-type": "text/plain"}
    got = logs.client.post(
        LOGS, params={"source": "make"}, content=b"a.c:1:2: error: no\nplain\n", headers=plain
    )
    assert got.json()["taken"] == 2
    assert [row.get("level") for row in logs.ask('source = "make"')] == ["error", None]
    line = b"<34>1 2026-11-21T10:00:00Z host su 1 ID47 - 'su root' failed"
    assert logs.client.post(LOGS, params={"format": "syslog"}, content=line).json()["taken"] == 1
    assert logs.client.post(LOGS, params={"format": "nonsense"}, content=line).status_code == 400


def test_errors_of_a_query_show_the_place(logs: Logs) -> None:
    """A query that is none is a 400 with the place, in words and as a number."""
    got = logs.client.get(f"{LOGS}/query", params={"q": "level >= "})
    assert got.status_code == 400
    problem = got.json()
    assert problem["position"] == 9
    assert problem["detail"].splitlines()[-1].index("^") == 4 + 9
    for path, params in (
        ("query", {"format": "xml"}), ("query", {"last": "0"}), ("query", {"from": "x"}), ("tail", {"q": "* | count"}),
        ("tail", {"after": "x"}), ("histogram", {"step": "0"}), ("histogram", {"q": "("}), ("records/none", {}),
    ):  # fmt: skip
        assert logs.client.get(f"{LOGS}/{path}", params=params).status_code == 400, (path, params)


def test_answers_come_in_the_format_that_is_asked_for(logs: Logs) -> None:
    """Text, CSV and logfmt are what they say, and steps make rows."""
    logs.send(
        {"message": "one", "source": "formats", "n": 1}, {"message": "two", "source": "formats", "n": 2}
    )
    where = 'source = "formats"'
    assert logs.ask(f"{where} | stats sum(n) as n by source") == [{"source": "formats", "n": 3}]
    for written, kind, piece in (
        ("text", "text/plain", "two"), ("csv", "text/csv", ",two,"), ("logfmt", "text/plain", "message=two"),
    ):  # fmt: skip
        got = logs.client.get(f"{LOGS}/query", params={"q": where, "format": written})
        assert got.headers["content-type"].startswith(kind)
        assert piece in got.text


def test_queries_may_be_long(logs: Logs) -> None:
    """A query is sent in a body too, with times and a number of records."""
    start = 1_700_000_000 * 10**9
    logs.send(*({"message": f"m{n}", "source": "long", "time": start + n} for n in range(1, 6)))
    wish = {"q": 'source = "long"', "from": start + 2, "to": start + 5, "last": 2}
    got = logs.client.post(f"{LOGS}/query", json=wish)
    assert [json.loads(line)["message"] for line in got.text.splitlines()[:-1]] == ["m3", "m4"]
    assert logs.client.post(f"{LOGS}/query", json={"query": "x"}).status_code == 400


def test_a_histogram_counts_by_time_and_level(logs: Logs) -> None:
    """Buckets of the width that is asked for, with levels."""
    second = 10**9
    start = 1_700_000_000 * second
    logs.send(*({"message": "x", "source": "h", "level": "error" if n % 2 else "info", "time": start + n * second}
                for n in range(10)))  # fmt: skip
    params = {
        "q": 'source = "h"', "step": str(5 * second), "from": str(start), "to": str(start + 10 * second),
    }  # fmt: skip
    got = logs.client.get(f"{LOGS}/histogram", params=params).json()
    assert [bucket["levels"] for bucket in got["buckets"]] == [
        {"info": 3, "error": 2},
        {"info": 2, "error": 3},
    ]
    auto = logs.client.get(f"{LOGS}/histogram", params={"q": 'source = "h"'}).json()
    assert sum(sum(bucket["levels"].values()) for bucket in auto["buckets"]) == 10


def test_sealing_changes_no_answer(logs: Logs) -> None:
    """Whether records are in the tail or in a segment is nobody's business."""
    logs.send(*({"message": f"s{n}", "source": "seal"} for n in range(100)))
    before = logs.ask('source = "seal"')
    assert logs.client.post(f"{LOGS}/seal").json()["segments"] >= 1
    assert logs.ask('source = "seal"') == before
    stats = logs.client.get(f"{LOGS}/stats").json()
    assert stats["segments"] >= 1
    assert stats["sources"]["seal"]["records"] == 100


def test_a_tail_shows_what_comes_and_only_that(logs: Logs) -> None:
    """A live tail has what its condition means, also what another process appended."""
    with logs.tail('source = "live" and level >= warning') as events:
        logs.send({"message": "quiet", "source": "live", "level": "info"})
        logs.send({"message": "loud", "source": "live", "level": "error"})
        assert next(events)[1]["message"] == "loud"
        with DiskLogs(logs.server.directory / "logs" / "default", seals=False) as store:
            store.append([Record(1, 17, "live", "from elsewhere")])
        assert next(events)[1]["message"] == "from elsewhere"


def test_a_tail_goes_on_where_it_was_broken_off(logs: Logs) -> None:
    """With the id of the last record that was had, nothing is lost while nobody listened."""
    with logs.tail('source = "resume"') as events:
        logs.send({"message": "0", "source": "resume"})
        last = next(events)[1]["@id"]
    for n in range(1, 4):
        logs.send({"message": str(n), "source": "resume"})
    with logs.tail('source = "resume"', after=last) as events:
        logs.send({"message": "4", "source": "resume"})
        assert [next(events)[1]["message"] for _ in range(4)] == ["1", "2", "3", "4"]


def test_who_resumes_after_a_record_that_is_gone_is_told(logs: Logs) -> None:
    """It is not known how much was missed: that is said."""
    with logs.tail("", after="01a1fec7-8ff7-7000-8000-000000000000") as events:
        assert next(events) == ("dropped", {"dropped": -1})


def test_a_web_socket_shows_the_same(logs: Logs) -> None:
    """Over WebSocket a message holds a line for each record; pings are answered; it closes in order."""
    url = logs.server.url.replace("http", "ws") + f'{LOGS}/tail?q=source="ws"'
    with websockets.sync.client.connect(url) as socket:
        logs.send({"message": "a", "source": "ws"}, {"message": "b", "source": "ws"})
        lines: list[str] = []
        while len(lines) < 2:
            lines += str(socket.recv(60)).splitlines()
        assert [json.loads(line)["message"] for line in lines] == ["a", "b"]
        assert socket.ping().wait(60)
        socket.close(1000)
        assert socket.protocol.close_rcvd is not None
        assert socket.protocol.close_rcvd.code == 1000
    resumed = f"{url}&after={json.loads(lines[0])['@id']}"
    with websockets.sync.client.connect(resumed) as socket:
        assert json.loads(str(socket.recv(60)))["message"] == "b"
        socket.send("x" * 100_000)
        with pytest.raises(websockets.exceptions.ConnectionClosedError):
            socket.recv(60)


def test_what_is_no_web_socket_is_refused_in_http(logs: Logs) -> None:
    """A page of another site gets no live logs, nor does a bad offer; the connection goes on."""
    url = logs.server.url.replace("http", "ws") + f"{LOGS}/tail"
    for origin, query in (("https://evil.example", ""), (None, "?q=(")):
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            websockets.sync.client.connect(url + query, origin=origin)  # type: ignore[arg-type]
        assert refused.value.response.status_code == (403 if origin else 400)
    offer = {"connection": "Upgrade", "upgrade": "websocket"}
    assert logs.client.get(f"{LOGS}/tail", headers=offer).status_code == 400
    assert logs.client.get(f"{LOGS}/stats", headers=offer).status_code == 200


def test_a_query_ends_when_its_client_does(logs: Logs) -> None:
    """Who goes away in the middle leaves no query behind: the next ones get their turn."""
    logs.send(*({"message": "y" * 2000, "source": "big"} for _ in range(10_000)))
    for _ in range(8):  # more than run at once
        with logs.client.stream("GET", f"{LOGS}/query", params={"q": 'source = "big"'}) as reply:
            assert next(reply.iter_bytes())
    assert logs.ask('source = "big" | count') == [{"count": 10_000}]


def test_it_stops_with_tails_open(tmp_path: Path) -> None:
    """Live tails do not hold the end of a server up; their clients see an orderly end."""
    with vcache_serve(tmp_path / "store") as server, httpx.Client(base_url=server.url, timeout=60) as client:
        logs = Logs(server, client)
        ended = threading.Event()
        with logs.tail() as events:

            def listen() -> None:
                list(events)
                ended.set()

            thread = threading.Thread(target=listen)
            thread.start()
            server.process.terminate()
            thread.join(60)
            assert ended.is_set()
        until(lambda: server.process.poll() is not None)
        assert server.process.returncode == 0


def test_namespaces_do_not_see_each_other(tmp_path: Path) -> None:
    """Each namespace has its own logs; readers read, writers write, admins seal; the audit log tells."""
    file = TokenFile(tmp_path / "tokens.json")
    tokens = {role.name.lower(): file.add(role, "main")[1] for role in Role if role}
    tokens["stranger"] = file.add(Role.ADMIN, "other")[1]
    with vcache_serve(tmp_path / "store", "--tokens", tmp_path / "tokens.json") as server:

        def ask(who: str, method: str, path: str, **more: Any) -> httpx.Response:
            headers = {"authorization": f"Bearer {tokens[who]}"} if who else {}
            return httpx.request(method, server.url + path, headers=headers, timeout=60, **more)

        sent = {"content": '{"message":"secret","source":"s"}'}
        for who, status in (("", 401), ("reader", 403), ("writer", 200), ("builder", 200)):
            assert ask(who, "POST", LOGS, **sent).status_code == status
        assert ask("", "GET", "/logs/").status_code == 200
        for path in ("query", "stats", "histogram", "tail"):
            assert ask("", "GET", f"{LOGS}/{path}").status_code == 401
        assert ask("reader", "GET", f"{LOGS}/query").text.count("secret") == 2
        assert "secret" not in ask("stranger", "GET", f"{LOGS}/query").text
        record_id = json.loads(ask("reader", "GET", f"{LOGS}/query").text.splitlines()[0])["@id"]
        assert ask("stranger", "GET", f"{LOGS}/records/{record_id}").status_code == 404
        for who, status in (("", 401), ("writer", 403), ("admin", 200)):
            assert ask(who, "POST", f"{LOGS}/seal").status_code == status
        assert (server.directory / "logs" / "@main" / "format").exists()
        metrics = ask("reader", "GET", "/metrics").text
        assert 'vcache_server_requests_total{dialect="logs",outcome="put"} 2.0' in metrics
    audit = (server.directory / "server" / "audit.jsonl").read_text()
    assert '"action":"seal"' in audit
    assert '"action":"logs"' in audit


def test_a_namespace_named_as_the_open_one_has_logs_of_its_own(tmp_path: Path) -> None:
    """Tokens for `default` do not lead to what an open server took, nor to the logs of this machine's builds."""
    with vcache_serve(tmp_path / "store") as server:
        assert httpx.post(server.url + LOGS, content='{"message":"open"}').status_code == 200
    file = TokenFile(tmp_path / "tokens.json")
    headers = {"authorization": f"Bearer {file.add(Role.WRITER, 'default')[1]}"}
    with vcache_serve(tmp_path / "store", "--tokens", tmp_path / "tokens.json") as server:
        asked = httpx.get(f"{server.url}{LOGS}/query", headers=headers)
        assert json.loads(asked.text.splitlines()[-1])["@end"]["rows"] == 0


def test_answers_about_the_past_are_kept_and_cannot_be_planted(tmp_path: Path) -> None:
    """Asking again reads what was kept; a client may not write where that is."""
    from vcache.entry import Entry, Record, make_key
    from vcache.hash import digest
    from vcache.server.logs.shelf import RESERVED
    from vcache.store.objects import name_of, pack

    with vcache_serve(tmp_path / "store") as server:
        lines = "".join(json.dumps({"message": f"{n} x{n % 7}y"}) + "\n" for n in range(500))
        assert httpx.post(server.url + LOGS, content=lines).status_code == 200
        assert httpx.post(f"{server.url}{LOGS}/seal").status_code == 200
        kept = []
        for _ in range(2):
            asked = httpx.get(f"{server.url}{LOGS}/query", params={"q": 'message ~ "x3y" | count'})
            kept.append(json.loads(asked.text.splitlines()[-1])["@end"]["seen"]["segments_kept"])
        assert kept == [0, 1]
        key = make_key(b"x", namespace=f"{RESERVED.decode()}/.log-answers")
        front, body = pack(Record(Entry(key, digest(b"\x01"), 1, created_ns=1).encode(), b"\x01"))
        got = httpx.put(f"{server.url}/vcache/{name_of(key)}", content=bytes(front) + bytes(body))
        assert got.status_code == 403, got.text


def test_retention_is_run_by_the_server_and_changes_while_it_runs(tmp_path: Path) -> None:
    """What the settings do not keep goes, also in a namespace that nobody asks for; SIGHUP changes it."""
    with DiskLogs(tmp_path / "store/logs/@idle") as store:
        store.append([Record(1, 9, "old", "of 1970")])
    settings = tmp_path / "serve.toml"
    settings.write_text("")
    with vcache_serve(tmp_path / "store", "--config", settings) as server:
        lines = (
            '{"message":"old","source":"a","time":"2020-01-01T00:00:00Z"}\n{"message":"young","source":"b"}\n'
        )
        assert httpx.post(server.url + LOGS, content=lines).status_code == 200
        assert len(httpx.get(f"{server.url}{LOGS}/query").text.splitlines()) == 3
        settings.write_text('[logs_keep]\n"a" = "30d"\n"*" = "1d"\n')
        server.process.send_signal(signal.SIGHUP)

        def is_thin() -> bool:
            return '"old"' not in httpx.get(f"{server.url}{LOGS}/query").text

        until(is_thin)
        assert "young" in httpx.get(f"{server.url}{LOGS}/query").text

        def is_empty() -> bool:
            with DiskLogs(tmp_path / "store/logs/@idle") as store:
                return store.stats().records == 0

        until(is_empty)


def test_logs_count_for_the_quota_at_once(tmp_path: Path) -> None:
    """What was sent since the last count is counted as well."""
    settings = tmp_path / "serve.toml"
    settings.write_text('quota = "100kB"\n')
    with vcache_serve(tmp_path / "store", "--config", settings) as server:
        line = json.dumps({"message": "x" * 1000}) + "\n"
        statuses = [httpx.post(server.url + LOGS, content=line * 20).status_code for _ in range(10)]
        assert statuses[0] == 200
        assert statuses[-1] == 507


@pytest.mark.parametrize("body", [b"{}\n" * 600_000, b"[" + b"{}," * 600_000 + b"{}]", b"\n" * 600_000])
def test_bodies_of_many_short_records_are_refused(tmp_path: Path, body: bytes) -> None:
    """They would take a hundred times their length in memory."""
    with vcache_serve(tmp_path / "store") as server:
        got = httpx.post(server.url + LOGS, content=body, headers={"content-type": "application/json"})
        assert got.status_code == 413
