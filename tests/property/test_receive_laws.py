"""What every parser of logs keeps to, whatever it is given."""

from __future__ import annotations

import json
from typing import Final

import cramjam
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vcache.errors import UsageError
from vcache.logs.receive import NAMES, by_name
from vcache.logs.record import Mark, Record, marked
from vcache.wire import logs_pb2

NOW: Final = 1_795_296_000 * 10**9
STREAMS: Final = ("auto", "json", "lines", "syslog", "journal", "logfmt")


def _otlp() -> bytes:
    request = logs_pb2.ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key=b"service.name").value.string_value = b"svc"
    log = group.scope_logs.add().log_records.add(time_unix_nano=NOW, severity_number=13, trace_id=b"t" * 16)
    log.body.kvlist_value.values.add(key=b"k").value.array_value.values.add().int_value = 3
    return request.SerializeToString()


def _loki() -> bytes:
    request = logs_pb2.PushRequest()
    entry = request.streams.add(labels=b'{app="x", job="a\\"b"}').entries.add(line=b"level=error no")
    entry.timestamp.seconds = 5
    entry.structured_metadata.add(name=b"m", value=b"1")
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


_OTLP_JSON: Final = (
    b'{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"svc"}}]},'
    b'"scopeLogs":[{"scope":{"name":"s"},"logRecords":[{"timeUnixNano":"1795296000123456789",'
    b'"severityNumber":13,"body":{"kvlistValue":{"values":[{"key":"a","value":{"intValue":"5"}}]}},'
    b'"traceId":"AB","attributes":[{"key":"b","value":{"bytesValue":"AAE="}}]}]}]}]}'
)
SAMPLES: Final[dict[str, tuple[bytes, ...]]] = {
    "json": (
        b'{"@timestamp":"2026-11-21T21:14:33.5Z","level":"warn","message":"m","a":{"b":[1]},"n":18446744073709551615}\n',
        b'{"level":30,"time":1795296000123,"pid":1,"hostname":"h","msg":"x"}\n{\n "a": 1\n}\n',
    ),
    "lines": (
        b"In file included from a.c:1:\na.h:3:9: warning: unused [-Wunused]\n    3 |  int x;\n      |  ^\nnext\n",
        b'Traceback (most recent call last):\n  File "x"\nValueError: x\n\nlevel=info msg="a b"\n\x1b[31merror: x\x1b[m\r\n',
        b"java.lang.Error: x\n\tat a.B(C.java:1)\nCaused by: x\npanic: y\n\ngoroutine 1 [running]:\nmain.main()\n",
        b"ld: a.o: in function `main':\na.c:(.text+0x5): undefined reference to `f'\nerror[E1]: x\n --> a.rs:1:2\n",
    ),
    "syslog": (
        b'<34>1 2026-10-11T22:14:15.003Z host su 12 ID47 [a@1 x="1" y="a\\"b"][b] \xef\xbb\xbfhi\n',
        b"<34>Oct 11 22:14:15 host su[12]: failed\n<13>2026-11-21T21:14:33.1+01:00 h a: x\n",
        b"<189>*Oct  1 2026 10:00:00.123: %LINK-3: down\0<0>\n12 <13>x: abcdef",
    ),
    "journal": (
        b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=1795296000123456\nMESSAGE\n\x04\0\0\0\0\0\0\0a\nb\xff\nPRIORITY=3\nA=1\nA=2\n\n",
        b'{"__REALTIME_TIMESTAMP":"1795296000123456","MESSAGE":[97,255],"PRIORITY":"6","A":["x","y"]}\n',
    ),
    "logfmt": (b'time=2026-11-21T21:14:33Z level=warn msg="a \\"b\\"" took=3ms flag\n',),
    "otlp": (_otlp(), _OTLP_JSON),
    "loki": (_loki(), b'{"streams":[{"stream":{"job":"j"},"values":[["1795296000123456789","x",{"m":"1"}],["y"]]}]}'),
    "elastic": ((
        b'{"create":{"_index":"i","_id":"7"}}\n{"@timestamp":"2026-11-21T21:14:33Z","log":{"level":"error"}}\n'
        b'{"delete":{"_id":"1"}}\n{"update":{}}\n{"doc":{}}\n{"index":{}}\n{"message":"x"}\n'
    ),),
}  # fmt: skip
SAMPLES["auto"] = tuple(
    sample for name in ("json", "lines", "syslog", "journal", "logfmt") for sample in SAMPLES[name]
)


@st.composite
def mutated(draw: st.DrawFn, name: str) -> bytes:
    """A real message, of which parts are cut out, repeated, replaced or swapped."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(SAMPLES[name]), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 24)))
        what = draw(st.sampled_from(("cut", "twice", "bytes")))
        part = bytes(data[at:end])
        data[at:end] = {"cut": b"", "twice": part + part, "bytes": draw(st.binary(max_size=6))}[what]
    return bytes(data)


def _sound(record: Record) -> None:
    assert type(record) is Record
    assert type(record.at_ns) is int
    assert -(1 << 63) <= record.at_ns < 1 << 63
    assert type(record.level) is int
    assert 0 <= record.level <= 24
    assert type(record.marks) in (int, Mark)
    assert type(record.source) is str
    assert type(record.message) is str
    assert len(record.fields) <= 256
    for name, value in record.fields.items():
        assert type(name) is str
        assert name not in ("level", "source", "message")
        assert type(value) in (str, int, float, bool)
        assert type(value) is not int or -(1 << 63) <= value < 1 << 63
    json.dumps(record.fields)
    record.message.encode("utf-8", "surrogatepass")
    marked(record, now_ns=NOW)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_nothing_breaks_a_parser(name: str, data: st.DataObject) -> None:
    """Of whatever bytes, records come out that can be kept, or the one error that is documented."""
    body = data.draw(mutated(name) | st.binary(max_size=200))
    try:
        found = by_name(name).parse(body, now_ns=NOW, source="s")
    except UsageError:
        return
    for record in found.records:
        _sound(record)


@pytest.mark.parametrize("name", STREAMS)
@given(data=st.data())
def test_how_a_stream_is_cut_changes_nothing(name: str, data: st.DataObject) -> None:
    """Fed in any pieces, a stream gives the records that it gives at once."""
    body = data.draw(mutated(name))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    whole, pieces = by_name(name).stream(source="s"), by_name(name).stream(source="s")
    expected = [*whole.feed(body, now_ns=NOW), *whole.end(now_ns=NOW)]
    found: list[Record] = []
    for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        found += pieces.feed(body[begin:end], now_ns=NOW)
    assert [*found, *pieces.end(now_ns=NOW)] == expected


@given(st.lists(st.binary(min_size=1, max_size=40).filter(lambda line: not {10, 13} & set(line)), max_size=8))
@example([b"\xff\xfe", b"a.c:1:2: error: \xff", b"  x", b" "])
def test_lines_keep_every_byte(lines: list[bytes]) -> None:
    """Messages together are the lines that came."""
    found = by_name("lines").parse(b"\n".join(lines), now_ns=NOW).records
    got = "\n".join(record.message for record in found if not record.fields.get("took"))
    if not any(line.startswith((b"time=", b"ts=", b"level=", b"lvl=", b"msg=", b"t=")) for line in lines):
        assert got.encode("utf-8", "surrogateescape") == b"\n".join(lines)


@given(st.binary(min_size=1, max_size=60).filter(lambda text: not {0, 10, 13} & set(text)))
def test_syslog_keeps_every_byte_of_what_it_says(text: bytes) -> None:
    """Of a message in any order; what is none is kept whole."""
    head = b"<13>1 2026-11-21T21:14:33Z h a - - - "
    (record,) = by_name("syslog").parse(head + text, now_ns=NOW).records
    assert record.message.encode("utf-8", "surrogateescape") == text.removeprefix(b"\xef\xbb\xbf")
    (record,) = by_name("syslog").parse(b"x" + text, now_ns=NOW).records
    assert record.marks & Mark.UNPARSED
    assert record.message.encode("utf-8", "surrogateescape") == b"x" + text


@given(st.dictionaries(st.text(max_size=20), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
), max_size=8))  # fmt: skip
def test_json_of_any_shape_is_a_record(value: dict[str, object]) -> None:
    """Whatever an object holds, and whether or not it is in the same shape as others."""
    line = json.dumps(value).encode()
    found = by_name("json").parse(line + b"\n" + line, now_ns=NOW).records
    assert len(found) == 2
    assert found[0] == found[1]
    _sound(found[0])


@given(st.text(max_size=40), st.text(max_size=40))
def test_one_record_alone_is_as_among_others(message: str, word: str) -> None:
    """The fast way over many objects and the slow one over odd ones agree."""
    plain = {"time": "2026-11-21T21:14:33Z", "msg": message, "level": "warn", "app": "a", "x": word}
    odd = plain | {"y": [1]}
    fast, slow = by_name("json").parse(json.dumps([plain, odd]).encode(), now_ns=NOW).records
    lines = b"\n".join(json.dumps(each).encode() for each in (plain, odd))
    assert by_name("json").parse(lines, now_ns=NOW).records == [fast, slow]
    assert fast[:4] == slow[:4]
    assert {**fast.fields, "y": "[1]"} == slow.fields


HARD: Final = {
    "words": b"a " * 512, "nuls": b"a\0" * 512, "elements": b"<13>1 - - - - - " + b"[a]" * 300,
    "escapes": b'<13>1 - - - - - [a b="' + b'\\"' * 500, "digits": b"1" * 1024, "frames": b"1 <" * 340,
    "braces": b"{" * 1024, "lists": b'{"a":' + b"[" * 500 + b"]" * 500 + b"}\n", "pairs": b"a=b " * 256,
    "bare": b"level=x " + b"a " * 500, "equals": b"level=" + b"=" * 1000, "fields": b"A\n" * 512, "entries": b"A=1\n\n" * 200,
    "sized": b"A\n" + b"\xff" * 8 + b"x" * 1000, "errors": b"error: " * 150, "objects": b"a.o:" * 250 + b" error:\n",
    "excerpts": b"error: x\n" + b" x\n" * 330, "blanks": b"Traceback (most recent call last)\n" + b"\n" * 1000,
    "classes": b"a." * 500 + b"Error", "ansi": b"\x1b[" * 512, "links": b"\x1b]" * 512, "returns": b"x\r" * 512,
    "labels": b'{"streams":[{"labels":"' + b'a=\\"' * 250 + b'","entries":[{"line":"x"}]}]}',
    "months": b"<13>Oct " + b" " * 1000,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("text", HARD)
@pytest.mark.parametrize("name", NAMES)
def test_a_megabyte_takes_no_more_than_its_share(name: str, text: str) -> None:
    """What is a thousand times as long is parsed in time: squared, it would be hours."""
    try:
        found = by_name(name).parse(HARD[text].rstrip(b"\n") * 1024, now_ns=NOW).records
    except UsageError:
        return
    for record in found[:100]:
        _sound(record)
