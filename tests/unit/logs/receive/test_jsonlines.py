"""JSON lines as records."""

from __future__ import annotations

import json

import pytest

from vcache.logs.receive import by_name
from vcache.logs.record import Mark, Record
from vcache.query.levels import DEBUG, ERROR, INFO, WARNING

NOW = 1_795_296_000 * 10**9
AT = "2026-11-21T21:14:33.123456789Z"
AT_NS = 1_795_295_673_123_456_789


def _one(value: object, source: str = "") -> Record:
    (record,) = by_name("json").parse(json.dumps(value).encode(), now_ns=NOW, source=source).records
    return record


@pytest.mark.parametrize("time", ["@timestamp", "_time", "time", "timestamp", "ts", "at"])
@pytest.mark.parametrize("message", ["message", "msg", "_msg", "log", "body", "MESSAGE"])
def test_names_that_loggers_use_are_known(time: str, message: str) -> None:
    """The time and the message, under any of them; what is left are the fields."""
    record = _one({time: AT, message: "x", "severity": "WARN", "logger": "l", "n": 1})
    assert record == (AT_NS, WARNING, "l", "x", {"n": 1}, 0, 1, 0, "")


def test_of_several_names_the_first_counts() -> None:
    """The other stays."""
    record = _one({"ts": 1, "time": AT, "msg": "b", "message": "a", "lvl": "x", "level": "error"})
    assert record == (AT_NS, ERROR, "", "a", {"ts": 1, "msg": "b", "lvl": "x"}, 0, 1, 0, "")


@pytest.mark.parametrize(
    ("fields", "level", "left"),
    [
        ({"severity_number": 14}, 14, {}),
        ({"levelno": 40}, ERROR, {}),
        ({"level": 30, "pid": 1, "hostname": "h"}, INFO, {"pid": 1, "hostname": "h"}),
        ({"level": 30}, 0, {"severity_text": 30}),
        ({"level": "loud"}, 0, {"severity_text": "loud"}),
        ({"log": {"level": "debug"}}, DEBUG, {}),
        ({"log.level": "debug"}, DEBUG, {}),
        ({"severity": 3}, 0, {"severity": 3}),
    ],
)
def test_a_level_is_a_word_or_a_number_that_says_of_what(
    fields: dict[str, object], level: int, left: dict[str, object]
) -> None:
    """A number alone says nothing: 30 is a warning to Python and none to pino."""
    record = _one({"time": AT, **fields})
    assert (record.level, record.fields) == (level, left)


def test_objects_within_are_flattened_and_numbers_kept() -> None:
    """Lists are JSON text, what has no 64 bits is text, null is absent."""
    record = _one({"time": AT, "a": {"b": {"c": 1}}, "l": [1, "x"], "big": 1 << 63, "no": None, "t": True})
    assert record.fields == {"a.b.c": 1, "l": '[1, "x"]', "big": str(1 << 63), "t": True}


def test_a_number_beyond_64_bits_is_text_among_plain_objects_too() -> None:
    """The look at the whole batch finds it."""
    lines = b'{"time":1,"n":1}\n{"time":1,"n":18446744073709551615}'
    found = by_name("json").parse(lines, now_ns=NOW).records
    assert [record.fields["n"] for record in found] == [1, "18446744073709551615"]


@pytest.mark.parametrize("time", ["soon", None, [1], 1e300])
def test_a_time_that_is_none_stays_a_field(time: object) -> None:
    """The record has the time at which it was seen, and says so."""
    record = _one({"time": time, "msg": "x"})
    assert (record.at_ns, record.marks, record.message) == (NOW, Mark.NO_TIME, "x")
    assert ("time" in record.fields) == (time is not None)


def test_the_source_is_the_records_own_or_the_given_one() -> None:
    """An object under its name is none."""
    assert _one({"source": "a"}, "b").source == "a"
    assert _one({"x": "a"}, "b").source == "b"
    assert _one({"service": {"name": "a"}}, "b").source == "a"
    record = _one({"source": {"file": "x.go"}}, "b")
    assert (record.source, record.fields) == ("b", {"source.file": "x.go"})


@pytest.mark.parametrize("line", [b"foo", b"[1]", b"1", b'{"a":', b'"x"', b'{"a":1}{"b":2}', b"{" * 2000])
def test_a_line_that_is_no_object_is_kept_among_others(line: bytes) -> None:
    """As it came, and marked."""
    found = by_name("json").parse(b'{"msg":"a"}\n' + line + b'\r\n\n{"msg":"b"}', now_ns=NOW).records
    assert [record.message for record in found] == ["a", line.decode(), "b"]
    assert found[1].marks == Mark.UNPARSED | Mark.NO_TIME


def test_json_that_is_laid_out_is_kept_line_by_line() -> None:
    """Nothing of it is lost."""
    text = json.dumps({"a": {"b": 1}}, indent=1)
    found = by_name("json").parse(text.encode(), now_ns=NOW).records
    assert "\n".join(record.message for record in found) == text


def test_bytes_that_are_no_utf8_and_nan_are_taken() -> None:
    """As is what other parsers of JSON refuse: lone surrogates."""
    found = by_name("json").parse(b'{"msg":"\xff"}\n{"msg":"\\ud800","n":NaN}', now_ns=NOW).records
    assert [record.message for record in found] == ["\udcff", "\ud800"]
    assert not any(record.marks & Mark.UNPARSED for record in found)


def test_too_many_fields_are_cut_but_not_what_has_a_meaning() -> None:
    """Time, level and message may come last."""
    record = _one({**{f"k{n}": n for n in range(300)}, "msg": "x", "level": "info", "time": AT})
    assert (record.message, record.level, record.at_ns) == ("x", INFO, AT_NS)
    assert record.marks == Mark.CUT
    assert len(record.fields) <= 256


def test_a_list_of_objects_is_a_body_too() -> None:
    """Some senders have it so."""
    found = by_name("json").parse(b'[{"msg":"a"},\n {"msg":"b"}]', now_ns=NOW).records
    assert [record.message for record in found] == ["a", "b"]


def test_values_within_values_beyond_all_reason_are_left_out() -> None:
    """What is beside them is kept."""
    found = by_name("json").parse(b'{"msg":"a","x":' + b"[" * 1000 + b"]" * 1000 + b"}", now_ns=NOW).records
    assert (found[0].message, found[0].marks & Mark.CUT) == ("a", Mark.CUT)


def test_tracing_of_rust():
    """Its message stands among its fields."""
    line = b'{"timestamp":"2026-11-21T10:00:00Z","level":"WARN","fields":{"message":"slow","ms":7},"target":"app::db"}'
    (found,) = by_name("json").parse(line, now_ns=NOW).records
    assert (found.level, found.message) == (WARNING, "slow")
    assert found.fields == {"fields.ms": 7, "target": "app::db"}
