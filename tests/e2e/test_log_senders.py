"""Programs that ship logs, as they are, against the real server; and what is sent by those that cannot be had here.

Vector, Fluent Bit and promtail are in no package registry as programs that install and run. What is sent here
in their place was written after reading their sources, the files that each test names; none of them was run.
"""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
from collections.abc import Iterator
from typing import Any

import elasticsearch
import httpx
import logging_loki
import pytest
from elasticsearch import helpers
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from tests.servers import VcacheServer, needed, vcache_serve
from vcache.server.callers import Role
from vcache.server.tokens import TokenFile

pytestmark = [
    pytest.mark.e2e,
    # OpenTelemetry moves its handler to another package, and says so.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Site:
    """A server that asks for tokens, and who may write and read there."""

    def __init__(self, server: VcacheServer, writer: str, reader: str) -> None:
        self.server, self.writer, self.reader = server, writer, reader
        self.url = server.url

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.writer}"}

    def ask(self, q: str) -> list[dict[str, Any]]:
        got = httpx.get(
            f"{self.url}/api/v1/logs/query",
            params={"q": q},
            headers={"authorization": f"Bearer {self.reader}"},
        )
        return [json.loads(line) for line in got.text.splitlines()][:-1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("served")
    file = TokenFile(place / "tokens.json")
    _, writer = file.add(Role.WRITER, "main")
    _, reader = file.add(Role.READER, "main")
    with vcache_serve(place / "store", "--tokens", place / "tokens.json") as server:
        yield Site(server, writer, reader)


@pytest.mark.parametrize("compression", [Compression.Gzip, Compression.Deflate, Compression.NoCompression])
def test_an_opentelemetry_sdk(site: Site, compression: Compression) -> None:
    """What the exporter of the SDK sends over HTTP arrives with level, resource and attributes."""
    source = f"shop-{compression.name}"
    provider = LoggerProvider(resource=Resource.create({"service.name": source}))
    exporter = OTLPLogExporter(f"{site.url}/v1/logs", headers=site.bearer, compression=compression)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = logging.getLogger(source)
    logger.propagate = False
    logger.addHandler(LoggingHandler(logger_provider=provider))
    for number in range(100):
        logger.warning("order %d", number, extra={"order": number})
    assert provider.force_flush()
    provider.shutdown()
    found = site.ask(f'source = "{source}"')
    assert [row["message"] for row in found] == [f"order {number}" for number in range(100)]
    assert {row["level"] for row in found} == {"warning"}
    assert found[7]["order"] == 7


def test_opentelemetry_in_json(site: Site) -> None:
    """OTLP in JSON, as browsers' SDKs send it: answered in JSON."""
    log = {
        "timeUnixNano": "1795000000000000000",
        "severityNumber": 17,
        "body": {"stringValue": "from a browser"},
    }
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]}
    got = httpx.post(f"{site.url}/v1/logs", json=body, headers=site.bearer)
    assert (got.status_code, got.json()) == (200, {})
    (found,) = site.ask('"from a browser"')
    assert (found["level"], found["@time"]) == ("error", "2026-11-18T11:06:40.000000000Z")


@pytest.mark.parametrize("prefix", ["", "/elastic"])
def test_the_client_of_elasticsearch(site: Site, prefix: str) -> None:
    """The official client believes that it speaks to Elasticsearch, and its helpers write."""
    index = f"app{prefix.replace('/', '-')}"
    with elasticsearch.Elasticsearch(
        site.url + prefix, basic_auth=("vcache", site.writer), http_compress=True
    ) as client:
        assert client.info()["version"]["number"].startswith("8.")
        actions = (
            {"_op_type": "create", "_index": index, "@timestamp": "2026-11-21T10:00:00Z", "log.level": "error",
             "message": f"document {number}", "n": number}
            for number in range(1200)
        )  # fmt: skip
        assert helpers.bulk(client, actions, chunk_size=500) == (1200, [])
        client.index(index=index, document={"message": "alone"})
        ((is_done, said),) = helpers.streaming_bulk(
            client, [{"_op_type": "delete", "_index": index, "_id": "1"}], raise_on_error=False
        )
        assert not is_done
        assert "not deleted" in said["delete"]["error"]["reason"]
    with (
        elasticsearch.Elasticsearch(
            site.url + prefix, basic_auth=("vcache", site.reader), max_retries=0
        ) as client,
        pytest.raises(elasticsearch.AuthorizationException),
    ):
        client.bulk(operations=[{"index": {"_index": index}}, {"message": "no"}])
    assert len(site.ask(f'index = "{index}" and level = error')) == 1200
    assert len(site.ask(f'source = "{index}" and message = "alone"')) == 1


def test_a_client_of_loki(site: Site) -> None:
    """A handler of Python's logging that pushes to Loki, with a token as its password."""
    handler = logging_loki.LokiHandler(
        url=f"{site.url}/loki/api/v1/push",
        tags={"application": "my-app"},
        auth=("vcache", site.writer),
        version="1",
    )
    logger = logging.getLogger("loki")
    logger.propagate = False
    logger.addHandler(handler)
    logger.error("pushed", extra={"tags": {"service": "cart"}})
    handler.close()
    (found,) = site.ask('application = "my-app"')
    assert (found["message"], found["level"], found["service"]) == ("pushed", "error", "cart")


def test_curl(site: Site) -> None:
    """As the how-to says: the output of a build through curl."""
    command = [
        needed("curl", "curl"), "-sS", "--fail", "--data-binary", "@-", "-H", "Content-Type: text/plain",
        "-H", f"Authorization: Bearer {site.writer}", f"{site.url}/api/v1/logs?source=make",
    ]  # fmt: skip
    done = subprocess.run(command, input=b"cc -c a.c\na.c:1: warning: odd\n", capture_output=True, check=True)
    assert json.loads(done.stdout)["taken"] == 2
    assert [row.get("level") for row in site.ask('source = "make"')] == [None, "warning"]


# -- after their sources: not the programs themselves -----------------------------------------------------------------------


def test_what_vector_sends_to_elasticsearch(site: Site) -> None:
    """Vector, src/sinks/elasticsearch/{common,encoder,service}.rs: a health check, the version, then bulks.

    A type is sent to what is older than 8 only. Of the answer Vector looks for `"errors":true`, as text.
    """
    with httpx.Client(base_url=f"{site.url}/elastic", auth=("vcache", site.writer)) as vector:
        assert vector.get("/_cluster/health").status_code == 200
        assert vector.get("/").json()["version"]["number"].startswith("8.")
        action = '{"create":{"_index":"vector-2026.11.21"%s}}\n'
        body = action.encode() % b"" + json.dumps(
            {"host": "h", "message": "by vector", "timestamp": "2026-11-21T10:00:00.123Z", "source_type": "file"}
        ).encode() + b"\n"  # fmt: skip
        headers = {
            "content-type": "application/x-ndjson",
            "content-encoding": "gzip",
            "accept-encoding": "gzip",
        }
        got = vector.post("/_bulk?timeout=60s", content=gzip.compress(body), headers=headers)
        assert got.status_code == 200
        assert '"errors":true' not in got.text
        typed = action.encode() % b',"_type":"_doc"' + b'{"message":"typed"}\n'
        bad = typed + b'{"delete":{"_index":"vector","_id":"1"}}\n'
        got = vector.post("/_bulk?timeout=60s", content=gzip.compress(bad), headers=headers)
        assert '"errors":true' in got.text
    (found,) = site.ask('"by vector"')
    assert (found["host"], found["@time"]) == ("h", "2026-11-21T10:00:00.123000000Z")


def test_what_vector_sends_to_loki(site: Site) -> None:
    """Vector, src/sinks/loki/{healthcheck,event,service}.rs: /ready, then JSON or protobuf; 204 is success."""
    with httpx.Client(base_url=site.url, auth=("vcache", site.writer)) as vector:
        assert vector.get("/ready").status_code == 200
        push = {
            "streams": [{"stream": {"job": "vector"}, "values": [["1795000000000000000", "by vector too"]]}]
        }
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        body = gzip.compress(json.dumps(push).encode())
        assert vector.post("/loki/api/v1/push", content=body, headers=headers).status_code == 204
    assert site.ask('"by vector too"')[0]["source"] == "vector"


def test_what_vector_sends_over_http(site: Site) -> None:
    """Vector, src/sinks/http/config.rs: lines are x-ndjson; without `framing` it is an array as JSON."""
    import zstandard

    body = b"".join(json.dumps({"message": f"http {n}", "level": "info"}).encode() + b"\n" for n in range(3))
    headers = {**site.bearer, "content-type": "application/x-ndjson", "content-encoding": "zstd"}
    got = httpx.post(
        f"{site.url}/api/v1/logs?source=vector-http", content=zstandard.compress(body), headers=headers
    )
    assert got.json() == {"taken": 3}
    array = b'[{"message":"http 3"},{"message":"http 4"}]'
    headers = {**site.bearer, "content-type": "application/json"}
    got = httpx.post(f"{site.url}/api/v1/logs?source=vector-http", content=array, headers=headers)
    assert got.json() == {"taken": 2}
    found = [row["message"] for row in site.ask("source = vector-http")]
    assert sorted(found) == [f"http {n}" for n in range(5)]


def test_what_fluent_bit_sends(site: Site) -> None:
    """Fluent Bit, plugins/out_{es,loki,http}: bulks, a push as JSON, an array and lines, plain and gzip."""
    basic = httpx.BasicAuth("vcache", site.writer)
    es = b'{"create":{"_index":"fluent-bit"}}\n{"@timestamp":"2026-11-21T10:00:00.000Z","log":"by es"}\n'
    headers = {"content-type": "application/x-ndjson", "user-agent": "Fluent-Bit"}
    got = httpx.post(f"{site.url}/_bulk", content=es, headers=headers, auth=basic)
    assert got.status_code == 200
    assert got.json()["errors"] is False
    with_pipeline = es.replace(b"by es", b"by a pipeline")
    url = f"{site.url}/_bulk/?pipeline=p"
    assert httpx.post(url, content=with_pipeline, headers=headers, auth=basic).status_code == 200
    loki = b'{"streams":[{"stream":{"job":"fluent-bit"},"values":[["1795000000000000000","{\\"log\\":\\"by loki\\"}"]]}]}'
    json_type = {"content-type": "application/json"}
    pushed = httpx.post(f"{site.url}/loki/api/v1/push", content=loki, headers=json_type, auth=basic)
    assert pushed.status_code == 204
    array = b'[{"date":1795000000.5,"log":"by http"},{"date":1795000001.5,"log":"by http"}]'
    lines = b'{"date":"2026-11-21T10:00:00.000000Z","log":"by http"}\n' * 2
    for body, kind in ((array, json_type), (lines, {"content-type": "application/x-ndjson"})):
        for packed in (body, gzip.compress(body)):
            more = {"content-encoding": "gzip"} if packed is not body else {}
            headers = {**kind, **more, "user-agent": "Fluent-Bit"}
            sent = httpx.post(
                f"{site.url}/api/v1/logs?source=fb", content=packed, headers=headers, auth=basic
            )
            assert sent.json() == {"taken": 2}
    found = site.ask("source = fb")
    assert [row["message"] for row in found] == ["by http"] * 8
    assert {row["@time"][:19] for row in found} == {
        "2026-11-18T11:06:40", "2026-11-18T11:06:41", "2026-11-21T10:00:00"
    }  # fmt: skip
    assert len(site.ask('"by es"')) == len(site.ask('"by a pipeline"')) == 1
    assert len(site.ask('"by loki"')) == 1


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/logs", "application/x-protobuf"), ("/v1/logs", "application/json"),
        ("/loki/api/v1/push", "application/x-protobuf"), ("/loki/api/v1/push", "application/json"),
        ("/elastic/_bulk", "application/x-ndjson"), ("/api/v1/logs", "application/json"),
    ],
)  # fmt: skip
def test_refusals_are_those_that_clients_heed(site: Site, path: str, kind: str) -> None:
    """Rubbish is a 400, which is dropped; no token 401; a reader's 403; the wrong method 405; too long 413."""
    headers = {**site.bearer, "content-type": kind}
    rubbish = b"\xff\xfe rubbish" if path != "/api/v1/logs" else b"\xff\xfe"
    got = httpx.post(site.url + path, content=rubbish, headers={**headers, "content-encoding": "gzip"})
    assert got.status_code == 400
    if path != "/api/v1/logs":  # whose lines are kept, whatever they are
        assert httpx.post(site.url + path, content=rubbish, headers=headers).status_code == 400
    assert httpx.post(site.url + path, content=b"{}", headers={"content-type": kind}).status_code == 401
    reader = {"authorization": f"Bearer {site.reader}", "content-type": kind}
    assert httpx.post(site.url + path, content=b"{}", headers=reader).status_code == 403
    assert httpx.delete(site.url + path, headers=headers).status_code == 405
    bomb = gzip.compress(bytes(64 << 20))
    got = httpx.post(site.url + path, content=bomb, headers={**headers, "content-encoding": "gzip"})
    assert got.status_code == 413


def test_people_at_the_root_are_led_to_the_page(site: Site) -> None:
    """A browser at / sees logs, a client of Elasticsearch a version."""
    got = httpx.get(site.url + "/", headers={"accept": "text/html,*/*"})
    assert (got.status_code, got.headers["location"]) == (302, "/logs/")
    assert httpx.get(site.url + "/").headers["x-elastic-product"] == "Elasticsearch"
