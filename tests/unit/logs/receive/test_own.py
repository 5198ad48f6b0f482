"""What our own output says when it is read again."""

from __future__ import annotations

import json

import pytest

from vcache.logs.receive import by_name
from vcache.logs.record import Mark, Record
from vcache.logs.remote.rows import json_of
from vcache.logs.show.formats import writer

NOW = 1_795_296_000 * 10**9
AT_NS = 1_795_295_673_123_456_789
RECORDS = [
    Record(AT_NS, 13, "gcc", "a.c:1: warning: x", {"file": "a.c", "line": "1"}, int(Mark.REPLAYED), 3),
    Record(AT_NS, 14, "", "", {"level": "x", "source": "y", "@time": "z"}),
    Record(-1, 0, "s", 'two\nlines "and" \\ \x1b[31m\udcff é\u2028', {"msg": "not it", "severity": "error"}),
    Record(AT_NS, 200, "s", "m", {"_time": "1", "timestamp": "2", "@timestamp": "3"}, 255, 1),
]


class _Sink(list[bytes]):
    def write(self, data: bytes) -> None:
        self.append(data)


@pytest.mark.parametrize("name", ["json", "logfmt"])
def test_what_is_written_for_programs_is_read_again(name: str) -> None:
    """Time, level, source, message, fields, marks and repeats are what they were."""
    sink = _Sink()
    shown = writer(name, sink)
    shown.write([record._replace(seen_ns=NOW, id=f"id{at}") for at, record in enumerate(RECORDS)])
    shown.close()
    data = b"".join(sink)
    assert by_name(name).parse(data, now_ns=NOW, source="other").records == [
        record._replace(source=record.source or "other") for record in RECORDS
    ]
    assert by_name("auto").parse(data, now_ns=NOW, source="other").records[0] == RECORDS[0]


def test_what_is_sent_to_a_server_is_what_comes_there() -> None:
    """Also where a field has a name that others give to times and levels."""
    plain = [Record(AT_NS, 0, "s", "m", {"severity": "error", "_time": "1"}), *RECORDS]
    data = b"".join(json.dumps(json_of(record)).encode() + b"\n" for record in plain)
    found = by_name("json").parse(data, now_ns=NOW).records
    assert found == plain


def test_what_others_call_time_is_no_sign_of_ours() -> None:
    """Without what we always write, names mean what they mean everywhere."""
    data = json.dumps({"@time": "2026-11-21T10:00:00Z", "severity_number": 13, "msg": "x"}).encode()
    (record,) = by_name("json").parse(data, now_ns=NOW).records
    assert (record.level, record.message) == (13, "x")


def test_marks_and_numbers_that_are_none_are_left_out() -> None:
    """Nothing that is said of a record breaks it."""
    said = {
        "@time": "?",
        "source": 1,
        "message": {"a": 1},
        "@marks": ["x", "cut"],
        "@repeats": -5,
        "@id": "i",
    }
    (record,) = by_name("json").parse(json.dumps(said).encode(), now_ns=NOW).records
    assert (record.at_ns, record.repeats, record.level) == (NOW, 1, 0)
    assert record.marks == Mark.CUT | Mark.NO_TIME
