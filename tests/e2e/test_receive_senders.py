"""What real programs and clients send, as they send it, becomes the records that they meant."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from tests.servers import needed
from vcache.logs.receive import by_name, elastic, otlp
from vcache.logs.receive.framing import SyslogFramer
from vcache.logs.receive.journal import JournalStream
from vcache.logs.receive.syslog import message_of
from vcache.logs.record import Record
from vcache.query.levels import ERROR, INFO, NOTE, WARNING

pytestmark = pytest.mark.e2e

NOW: Final = 1_795_296_000 * 10**9
PATIENCE_S: Final = 30


class Sink:
    """What an HTTP client sent: bodies, without their gzip."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []


@contextmanager
def sink(answer: Callable[[str, bytes], tuple[int, bytes, str]]) -> Iterator[tuple[str, Sink]]:
    kept = Sink()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            status, reply, kind = answer(self.path, body)
            if body:
                kept.bodies.append(body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        do_POST = do_PUT = do_GET = _serve  # noqa: N815 - as the base has it

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- syslog ----------------------------------------------------------------------------------


def _logger(*arguments: str) -> list[str]:
    return [
        needed("logger", "bsdutils"),
        "-p",
        "daemon.warning",
        "-t",
        "unit",
        "--id=7",
        *arguments,
        "it works: ünïcode",
    ]


@pytest.mark.parametrize("dialect", ["--rfc3164", "--rfc5424"])
def test_a_datagram_of_logger(dialect: str) -> None:
    """Both dialects, over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE_S)
        port = str(server.getsockname()[1])
        subprocess.run(_logger("-n", "127.0.0.1", "-d", "-P", port, dialect), check=True, timeout=PATIENCE_S)
        record = message_of(server.recv(65_536), now_ns=NOW)
    _is_loggers(record)


@pytest.mark.parametrize("framing", [["--octet-count"], []], ids=["counted", "lines"])
def test_a_stream_of_logger(framing: list[str]) -> None:
    """Counted and not, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        port = str(server.getsockname()[1])
        with subprocess.Popen(_logger("-n", "127.0.0.1", "-T", "-P", port, *framing)) as sender:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(PATIENCE_S)
                data = b"".join(iter(lambda: connection.recv(7), b""))
            assert sender.wait(PATIENCE_S) == 0
    framer = SyslogFramer()
    (message,) = framer.feed(data) + framer.end()
    _is_loggers(message_of(message, now_ns=NOW))


def _is_loggers(record: Record) -> None:
    assert (record.level, record.source, record.message) == (WARNING, "unit", "it works: ünïcode")
    assert (record.fields["facility"], record.fields["host"]) == (
        "daemon",
        socket.gethostname().partition(".")[0],
    )
    assert record.marks == 0


# --- journald --------------------------------------------------------------------------------

EXPORT: Final = (
    b"__REALTIME_TIMESTAMP=1795295673123456\n__MONOTONIC_TIMESTAMP=1\n_BOOT_ID=%b\nPRIORITY=4\n"
    b"SYSLOG_IDENTIFIER=unit\nMESSAGE\n\x0a\0\0\0\0\0\0\0two\nlines\xff\nTWICE=1\nTWICE=2\n\n" % (b"1" * 32)
)


@pytest.mark.parametrize("output", ["export", "json"])
def test_what_journalctl_writes_of_a_real_journal(tmp_path: Path, output: str) -> None:
    """A journal made by systemd, read back by journalctl in both formats, gives one record."""
    journal = tmp_path / "unit.journal"
    remote = needed("/lib/systemd/systemd-journal-remote", "systemd-journal-remote")
    subprocess.run(
        [remote, "-o", str(journal), "-"], input=EXPORT, check=True, capture_output=True, timeout=PATIENCE_S
    )
    read = subprocess.run(
        [needed("journalctl", "systemd"), "--file", str(journal), "-o", output, "--no-pager"],
        check=True, capture_output=True, timeout=PATIENCE_S,
    )  # fmt: skip
    stream = by_name("auto").stream()
    (record,) = [*stream.feed(read.stdout, now_ns=NOW), *stream.end(now_ns=NOW)]
    assert record[:4] == (1_795_295_673_123_456_000, WARNING, "unit", "two\nlines\udcff")
    assert json.loads(str(record.fields["TWICE"])) == ["1", "2"]
    direct = JournalStream("")
    direct.feed(read.stdout, now_ns=NOW)
    assert direct.cursor.startswith("s=")


# --- clients over HTTP -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*LoggingHandler.*:DeprecationWarning")
def test_the_sdk_of_opentelemetry() -> None:
    """Its exporter is content with the answer, and a record has its level, attributes and ids."""
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    with sink(lambda path, body: (200, otlp.answer(), "application/x-protobuf")) as (url, kept):
        exporter = OTLPLogExporter(endpoint=f"{url}/v1/logs", compression=Compression.Gzip)
        provider = LoggerProvider(resource=Resource.create({"service.name": "unit"}))
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        logger = logging.Logger("app.part")  # noqa: LOG001 - it is nobody else's
        logger.addHandler(LoggingHandler(logger_provider=provider))
        with TracerProvider().get_tracer("t").start_as_current_span("span") as span:
            logger.warning("it %s", "works", extra={"answer": 42})
            trace_id = f"{span.get_span_context().trace_id:032x}"
        provider.shutdown()
    (record,) = by_name("otlp").parse(kept.bodies[0], now_ns=NOW).records
    assert (record.level, record.source, record.message, record.marks) == (WARNING, "unit", "it works", 0)
    assert (record.fields["answer"], record.fields["trace_id"]) == (42, trace_id)
    assert record.fields["scope.name"] == "app.part"


def test_a_handler_for_loki() -> None:
    """Its labels are fields, and its tags."""
    import logging_loki

    with sink(lambda path, body: (204, b"", "text/plain")) as (url, kept):
        handler = logging_loki.LokiHandler(url=f"{url}/loki/api/v1/push", tags={"app": "unit"}, version="1")
        logger = logging.Logger("part")  # noqa: LOG001 - it is nobody else's
        logger.addHandler(handler)
        logger.error("it works", extra={"tags": {"run": "r1"}})
        handler.close()
    (record,) = by_name("loki").parse(kept.bodies[0], now_ns=NOW).records
    assert (record.level, record.source, record.message, record.marks) == (ERROR, "unit", "it works", 0)
    assert record.fields["run"] == "r1"


def test_the_client_of_elasticsearch() -> None:
    """It takes the answer for success, of helpers.bulk and of what was rejected."""
    from elasticsearch import Elasticsearch, helpers

    def answer(path: str, body: bytes) -> tuple[int, bytes, str]:
        found = elastic.bulk(body, now_ns=NOW, index=path.strip("/").partition("/")[0])
        return 200, elastic.answer(found.items), "application/vnd.elasticsearch+json;compatible-with=9"

    documents = [
        {"@timestamp": "2026-11-21T21:14:33Z", "message": f"m{n}", "log": {"level": "info"}} for n in range(3)
    ]
    actions = [{"_op_type": "create", "_index": "logs", "_source": document} for document in documents]
    with sink(answer) as (url, kept), Elasticsearch(url, http_compress=True) as client:
        assert helpers.bulk(client, actions) == (3, [])
        done, failed = helpers.bulk(
            client, [{"_op_type": "delete", "_index": "logs", "_id": "1"}], raise_on_error=False
        )
        assert (done, len(failed)) == (0, 1)  # type: ignore[arg-type]  # a list, unless only counts are asked for
    found = by_name("elastic").parse(kept.bodies[0], now_ns=NOW).records
    assert [(record.level, record.source, record.message) for record in found] == [
        (INFO, "logs", f"m{n}") for n in range(3)
    ]


def test_json_loggers_of_python() -> None:
    """What structlog and loguru write as JSON, a line each."""
    import io

    import loguru
    import structlog

    text = io.StringIO()
    structlog.wrap_logger(
        structlog.PrintLogger(text),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
    ).warning("it works", answer=42)
    (record,) = by_name("json").parse(text.getvalue().encode(), now_ns=NOW).records
    assert (record.level, record.message, record.fields, record.marks) == (
        WARNING,
        "it works",
        {"answer": 42},
        0,
    )

    text = io.StringIO()
    number = loguru.logger.add(text, serialize=True)
    loguru.logger.info("it works")
    loguru.logger.remove(number)
    (record,) = by_name("json").parse(text.getvalue().encode(), now_ns=NOW).records
    assert (record.level, record.message) == (INFO, "it works")


def test_what_gcc_says() -> None:
    """Each of its messages is a record with its place."""
    said = subprocess.run(
        [needed("gcc", "gcc"), "-Wall", "-fdiagnostics-color=always", "-fsyntax-only", "-xc", "-"],
        input=b"int f(void) {\n  int x;\n  return y;\n}\n", capture_output=True, check=False,
    )  # fmt: skip
    found = by_name("lines").parse(said.stderr, now_ns=NOW).records
    assert {(record.level, record.fields["line"]) for record in found} >= {
        (ERROR, 3),
        (NOTE, 3),
        (WARNING, 2),
    }
    assert "\n".join(record.message for record in found).encode() == said.stderr.rstrip(b"\n")
