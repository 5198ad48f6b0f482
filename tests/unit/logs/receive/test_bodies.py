"""What HTTP brings: OTLP, Loki's push, Elasticsearch's bulk."""

from __future__ import annotations

import json

import cramjam
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as public

from vcache.errors import UsageError
from vcache.logs.receive import by_name, elastic, loki, otlp
from vcache.logs.record import Mark, Record
from vcache.query.levels import ERROR, WARNING
from vcache.wire import logs_pb2

NOW = 1_795_296_000 * 10**9
AT_NS = 1_795_295_673_123_456_789


def _attribute(key: str, **value: object) -> dict[str, object]:
    return {"key": key, "value": value}


REQUEST = {"resourceLogs": [{
    "resource": {"attributes": [_attribute("service.name", stringValue="svc"), _attribute("host", stringValue="h")]},
    "scopeLogs": [{"scope": {"name": "lib", "version": "1"}, "logRecords": [
        {
            "timeUnixNano": str(AT_NS), "severityNumber": 13, "severityText": "WARN", "body": {"stringValue": "x"},
            "attributes": [
                _attribute("n", intValue="5"), _attribute("t", boolValue=True), _attribute("d", doubleValue=0.5),
                _attribute("l", arrayValue={"values": [{"intValue": "1"}, {"stringValue": "a"}]}),
                _attribute("m", kvlistValue={"values": [_attribute("k", stringValue="v")]}),
                _attribute("b", bytesValue="YWI="),
            ],
            "traceId": "000102030405060708090A0B0C0D0E0F", "spanId": "0001020304050607", "flags": 1,
            "eventName": "e", "droppedAttributesCount": 2,
        },
        {"observedTimeUnixNano": str(AT_NS), "severityText": "loud", "body": {"kvlistValue": {"values": [
            _attribute("a", intValue="1")]}}},
        {},
    ]}],
}]}  # fmt: skip


def _as_protobuf() -> bytes:
    request = public.ExportLogsServiceRequest()
    group = request.resource_logs.add()
    for key, text in (("service.name", "svc"), ("host", "h")):
        group.resource.attributes.add(key=key).value.string_value = text
    scope = group.scope_logs.add()
    scope.scope.name, scope.scope.version = "lib", "1"
    log = scope.log_records.add(time_unix_nano=AT_NS, severity_number=13, severity_text="WARN", flags=1)
    log.body.string_value = "x"
    log.attributes.add(key="n").value.int_value = 5
    log.attributes.add(key="t").value.bool_value = True
    log.attributes.add(key="d").value.double_value = 0.5
    values = log.attributes.add(key="l").value.array_value.values
    values.add().int_value = 1
    values.add().string_value = "a"
    log.attributes.add(key="m").value.kvlist_value.values.add(key="k").value.string_value = "v"
    log.attributes.add(key="b").value.bytes_value = b"ab"
    log.trace_id, log.span_id = bytes(range(16)), bytes(range(8))
    log.event_name, log.dropped_attributes_count = "e", 2
    log = scope.log_records.add(observed_time_unix_nano=AT_NS, severity_text="loud")
    log.body.kvlist_value.values.add(key="a").value.int_value = 1
    scope.log_records.add()
    return request.SerializeToString()


@pytest.mark.parametrize("data", [json.dumps(REQUEST).encode(), _as_protobuf()], ids=["json", "protobuf"])
def test_otlp_is_the_same_in_both_encodings(data: bytes) -> None:
    """Attributes of resource, scope and record are fields; ids are hexadecimal; bodies are of any type."""
    first, second, third = by_name("otlp").parse(data, now_ns=NOW, source="s").records
    shared = {"host": "h", "scope.name": "lib", "scope.version": "1"}
    assert first == (AT_NS, WARNING, "svc", "x", {
        **shared, "n": 5, "t": True, "d": 0.5, "l": '[1, "a"]', "m.k": "v", "b": "ab",
        "trace_id": "000102030405060708090a0b0c0d0e0f", "span_id": "0001020304050607", "trace_flags": 1,
        "event.name": "e", "dropped_attributes_count": 2,
    }, Mark.CUT, 1, 0, "")  # fmt: skip
    assert second == (AT_NS, 0, "svc", '{"a": 1}', {**shared, "severity_text": "loud"}, 0, 1, 0, "")
    assert third == (NOW, 0, "svc", "", shared, Mark.NO_TIME, 1, 0, "")


def test_otlp_that_is_no_utf8_costs_nothing() -> None:
    """The public messages would refuse the whole request."""
    request = logs_pb2.ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = b"\xff"
    (record,) = by_name("otlp").parse(request.SerializeToString(), now_ns=NOW).records
    assert record.message == "\udcff"


def test_a_severity_may_be_a_name() -> None:
    """As protobuf writes JSON."""
    logs = [{"severityNumber": "SEVERITY_NUMBER_WARN2"}, {"severity_number": "17"}]
    body = {"resource_logs": [{"scope_logs": [{"log_records": logs}]}]}
    found = by_name("otlp").parse(json.dumps(body).encode(), now_ns=NOW).records
    assert [record.level for record in found] == [14, ERROR]


@pytest.mark.parametrize("data", [b"hello", b'{"a":1}', b"[]", b"{", b"\n{}x", b'{"resourceLogs":1}'])
def test_what_is_no_otlp_is_refused(data: bytes) -> None:
    """Nothing of it would be a record."""
    with pytest.raises(UsageError, match="OTLP"):
        by_name("otlp").parse(data, now_ns=NOW)


def test_the_answer_of_otlp_is_understood() -> None:
    """By the public messages; empty when everything was taken."""
    assert otlp.answer() == b""
    assert json.loads(otlp.answer(is_json=True)) == {}
    answer = public.ExportLogsServiceResponse.FromString(otlp.answer(3, "no"))
    assert (answer.partial_success.rejected_log_records, answer.partial_success.error_message) == (3, "no")
    assert json.loads(otlp.answer(3, "no", is_json=True)) == {
        "partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "no"}
    }


# --- Loki ------------------------------------------------------------------------------------


def _push() -> bytes:
    request = logs_pb2.PushRequest()
    stream = request.streams.add(labels=b'{job="j", host="a\\"b\\n", level="warn"}')
    entry = stream.entries.add(line=b"x \xff")
    entry.timestamp.seconds, entry.timestamp.nanos = divmod(AT_NS, 10**9)
    entry.structured_metadata.add(name=b"trace_id", value=b"ab")
    return request.SerializeToString()


def test_loki_is_the_same_in_both_encodings() -> None:
    """Labels and structured metadata are fields, one of them the source, one the level."""
    body = {"streams": [{
        "stream": {"job": "j", "host": 'a"b\n', "level": "warn"},
        "values": [[str(AT_NS), "x \udcff", {"trace_id": "ab"}]],
    }]}  # fmt: skip
    data = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogateescape")
    expected = (AT_NS, WARNING, "j", "x \udcff", {"host": 'a"b\n', "trace_id": "ab"}, 0, 1, 0, "")
    assert by_name("loki").parse(data, now_ns=NOW).records == [expected]
    packed = bytes(cramjam.snappy.compress_raw(_push()))
    assert by_name("loki").parse(packed, now_ns=NOW).records == [expected]


def test_loki_takes_its_first_shape_and_odd_values() -> None:
    """Labels as text; what is no pair of time and line is kept, and marked."""
    body = {"streams": [
        {"labels": '{app="a"}', "entries": [{"ts": "2026-11-21T21:14:33.123456789Z", "line": "error: x"}]},
        {"stream": {}, "values": [["soon", "y"], ["z"], 1]},
    ]}  # fmt: skip
    found = by_name("loki").parse(json.dumps(body).encode(), now_ns=NOW, source="s").records
    assert [record[:4] for record in found] == [
        (AT_NS, ERROR, "a", "error: x"), (NOW, 0, "s", "y"), (NOW, 0, "s", '["z"]'), (NOW, 0, "s", "1"),
    ]  # fmt: skip
    assert [record.marks for record in found] == [0, 2, 66, 66]


def test_a_claim_of_snappy_is_not_believed() -> None:
    """Nothing is allocated for it."""
    with pytest.raises(UsageError, match="no snappy"):
        loki.unsnapped(b"\xff\xff\xff\x7f" + b"x" * 100)
    with pytest.raises(UsageError, match="at most 10"):
        loki.unsnapped(bytes(cramjam.snappy.compress_raw(b"x" * 11)), 10)


@pytest.mark.parametrize("data", [b"", b"hello", b'{"a":1}', b"{"])
def test_what_is_no_push_is_refused(data: bytes) -> None:
    """In neither encoding."""
    with pytest.raises(UsageError):
        by_name("loki").parse(data or b"{}", now_ns=NOW)


# --- Elasticsearch ---------------------------------------------------------------------------

BULK = (
    b'{"create":{"_index":"logs","_id":"7"}}\n'
    b'{"@timestamp":"2026-11-21T21:14:33.123456789Z","message":"m","log":{"level":"error"},"host":{"name":"h"}}\n'
    b'{"delete":{"_index":"logs","_id":"1"}}\n{"update":{"_id":"2"}}\n{"doc":{}}\n{"index":{}}\nfoo\n{"index":{}}\n'
)


def test_a_bulk_is_pairs_of_actions_and_documents() -> None:
    """Objects are flattened, the index is a field, and the source of who says none."""
    found = elastic.bulk(BULK, now_ns=NOW, index="path")
    assert found.records == [
        Record(AT_NS, ERROR, "logs", "m", {"host.name": "h", "index": "logs"}),
        Record(NOW, 0, "path", "foo", {}, Mark.UNPARSED | Mark.NO_TIME),
    ]
    assert [(item.action, item.index, bool(item.reason)) for item in found.items] == [
        ("create", "logs", False), ("delete", "logs", True), ("update", "path", True), ("index", "path", False),
        ("index", "path", True),
    ]  # fmt: skip
    assert [each.place for each in by_name("elastic").parse(BULK, now_ns=NOW).rejected] == [
        "item 1",
        "item 2",
        "item 4",
    ]


def test_the_answer_of_a_bulk_has_an_item_for_each_action() -> None:
    """In their order, with the ids of the sender or of the store."""
    found = elastic.bulk(BULK, now_ns=NOW)
    answer = json.loads(elastic.answer(found.items, ids=["r0", "r1"], took_ms=3))
    assert (answer["took"], answer["errors"]) == (3, True)
    rows = [next(iter(item.items())) for item in answer["items"]]
    assert [(action, row["status"]) for action, row in rows] == [
        ("create", 201), ("delete", 400), ("update", 400), ("index", 201), ("index", 400),
    ]  # fmt: skip
    assert [row["_id"] for _, row in rows][:4] == ["7", "1", "2", "r1"]


@pytest.mark.parametrize("data", [b"hello\n", b'{"a":1}\n', b"[]\n"])
def test_what_is_no_bulk_is_refused(data: bytes) -> None:
    """Its first line is no action."""
    with pytest.raises(UsageError, match="no bulk"):
        by_name("elastic").parse(data, now_ns=NOW)


PAIRS = b'{"index":{"_index":"i"}}\n{"message":"x"}\n{"create":{}}\n{"message":"y"}\n'
PUSH = {"streams": [{"stream": {"app": "a"}, "values": [[str(AT_NS), "x"]]}]}


@pytest.mark.parametrize(
    ("name", "body"),
    [("otlp", json.dumps(REQUEST)), ("otlp", _as_protobuf()), ("loki", json.dumps(PUSH)), ("elastic", PAIRS),
     ("otlp", json.dumps(REQUEST, indent=1)), ("loki", json.dumps(PUSH, indent=1))],
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 50, 1 << 20])
def test_a_file_of_a_body_is_read(name: str, body: bytes | str, piece: int) -> None:
    """However it comes in pieces, it is what the body is"""
    data = body.encode() if isinstance(body, str) else body
    stream = by_name(name).stream(source="s")
    found = [
        record
        for at in range(0, len(data), piece)
        for record in stream.feed(data[at : at + piece], now_ns=NOW)
    ]
    assert stream.flush(now_ns=NOW) == []
    found += stream.end(now_ns=NOW)
    assert found == by_name(name).parse(data, now_ns=NOW, source="s").records


@pytest.mark.parametrize(("name", "body"), [("otlp", REQUEST), ("loki", PUSH)])
def test_bodies_come_one_a_line(name: str, body: object) -> None:
    """Each is records as its line ends; what is none is kept as a line; `auto` knows them by the first one"""
    line = json.dumps(body).encode() + b"\n"
    once = by_name(name).parse(line, now_ns=NOW).records
    for stream in (by_name(name).stream(), by_name("auto").stream()):
        assert stream.feed(line + line[:9], now_ns=NOW) == once
        assert stream.feed(line[9:] + b"no body\n", now_ns=NOW)[:-1] == once
        assert stream.end(now_ns=NOW) == []


def test_what_only_claims_to_be_a_body_is_kept() -> None:
    """As records of JSON or lines"""
    assert [r.message for r in by_name("otlp").stream().feed(b'{"message":"x"}\n', now_ns=NOW)] == ["x"]
    stream = by_name("loki").stream()
    assert stream.feed(b"a\nb", now_ns=NOW) == []
    found = stream.end(now_ns=NOW)
    assert [(r.message, r.marks & Mark.UNPARSED > 0) for r in found] == [("a", True), ("b", True)]
    elastic_file = by_name("auto").stream()
    assert elastic_file.feed(PAIRS, now_ns=NOW) == []
    assert [r.message for r in elastic_file.end(now_ns=NOW)] == ["x", "y"]
